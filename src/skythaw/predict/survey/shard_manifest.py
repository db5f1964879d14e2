"""The folder of a survey's predictions: its shards, and the manifest that says what they are. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skythaw.errors import SpecError
from skythaw.machine.files import replacing
from skythaw.predict.prediction_files import LOCK
from skythaw.predict.survey.survey_pieces import Piece

MANIFEST = "manifest.json"
SCHEMA = 1
OK = "ok"
REASONS, OTHER = 100, "other reasons: see the column status"
"""how many reasons are counted apart, and what the others are counted as: some name what is in an image"""
READERS = 8
"""shards that are looked at at a time"""


@dataclass(frozen=True)
class Shard:
    """What is in one shard."""

    sha256: str
    """of the file"""
    rows: int
    labels: dict[str, int]
    statuses: dict[str, int]

    @classmethod
    def of(cls, data: bytes, *, whole: bool = False) -> Shard:
        """Look at what is counted in a file's content, or at all of it, to see that it is `whole`.

        Raises
        ------
        OSError, pyarrow.ArrowException
            It is damaged.
        """
        columns = None if whole else ["label", "status"]
        table = pq.read_table(pa.BufferReader(data), columns=columns, page_checksum_verification=True)
        counts = (
            {each["values"]: each["counts"] for each in pc.value_counts(table[name]).to_pylist()}
            for name in ("label", "status")
        )
        return cls(hashlib.sha256(data).hexdigest(), len(table), *counts)


@dataclass
class Done:
    """The shards that are there, and what is in all of them."""

    sha256: dict[int, str] = field(default_factory=dict)
    """by number"""
    rows: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    """how many were found to be each"""
    failed: Counter[str] = field(default_factory=Counter)
    """how many got no probabilities, by reason"""

    def add(self, number: int, shard: Shard) -> None:
        """Take note of a shard."""
        self.sha256[number] = shard.sha256
        self.rows += shard.rows
        self.classes.update({label: count for label, count in shard.labels.items() if label is not None})
        for status, count in shard.statuses.items():
            if status != OK:
                apart = status in self.failed or len(self.failed) < REASONS
                self.failed[status if apart else OTHER] += count


def require_ours(out: Path) -> None:
    """Raise `SpecError` if a folder holds something else."""
    if (out / MANIFEST).exists() or not out.is_dir():
        return
    if odd := sorted(each.name for each in out.iterdir() if each.name != LOCK and not each.name.startswith(".")):
        raise SpecError(f"{out} is there and holds no predictions of ours, but {odd[0]}; give a new folder")


def begin(out: Path, binding: Mapping[str, Any]) -> dict[str, str]:
    """Write down what the folder is of, or hold it against what is written there.

    Returns
    -------
    dict
        the checksums of shards, by their place, that an earlier manifest has

    Raises
    ------
    SpecError
        It is of something else, or holds other things.
    """
    path = out / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        there, lines = content["binding"], content.get("shards", [])
        known = {line["shard"]: line["sha256"] for line in lines if "sha256" in line}
    except FileNotFoundError:
        require_ours(out)
        write(out, unfinished(binding))
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"can't read {path}: {error!r}; give a new folder") from None
    for name, value in binding.items():
        if there.get(name) != value:
            raise SpecError(
                f"{out} holds predictions of another {name}: {str(there.get(name))[:80]}, now {str(value)[:80]}; give "
                "the command it was begun by, or a new folder"
            )
    return known


def unfinished(binding: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a folder that is being filled."""
    return {"schema": SCHEMA, "complete": False, "binding": dict(binding)}


def write(out: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest."""
    with replacing(out / MANIFEST) as file:
        file.write(json.dumps(content, indent=1).encode())


def shard_path(out: Path, number: int) -> Path:
    """Where the shard of a piece is."""
    return out / _name(number)


def lacking(out: Path, pieces: Sequence[Piece], known: Mapping[str, str], done: Done) -> list[Piece]:
    """The pieces without a whole shard; the others are `done`. What a kill left half-written is removed.

    Each shard is read: its pages have checksums, and all of it has one that may be `known`.
    """
    for file in (out / "shards").glob(".*.tmp"):
        file.unlink(missing_ok=True)
    lack = []
    with ThreadPoolExecutor(READERS) as pool:
        for piece, shard in zip(pieces, pool.map(lambda each: _whole(out, each, known), pieces), strict=True):
            if shard is None:
                lack.append(piece)
            else:
                done.add(piece.number, shard)
    return lack


def described(pieces: Sequence[Piece], done: Done) -> list[dict[str, Any]]:
    """A line of the manifest for each shard."""
    lines = []
    for piece in pieces:
        line = {"shard": _name(piece.number), "input": piece.place.shown, "first": piece.first, "rows": len(piece)}
        if piece.number in done.sha256:
            line["sha256"] = done.sha256[piece.number]
        lines.append(line)
    return lines


def _name(number: int) -> str:
    return f"shards/{number:08d}.parquet"


def _whole(out: Path, piece: Piece, known: Mapping[str, str]) -> Shard | None:
    """A piece's shard, if it is there and undamaged."""
    try:
        shard = Shard.of(shard_path(out, piece.number).read_bytes(), whole=True)
    except (OSError, pa.ArrowException, KeyError):
        return None
    right = shard.rows == len(piece) and known.get(_name(piece.number), shard.sha256) == shard.sha256
    return shard if right else None
