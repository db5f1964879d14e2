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
from skythaw.machine.sealed_table import require_sealed
from skythaw.predict.prediction_files import LOCK
from skythaw.predict.prediction_rows import BY_NUMBERS, INPUTS, OK
from skythaw.predict.survey.survey_chunks import Chunk

MANIFEST = "manifest.json"
SCHEMA = 1
REASONS, OTHER = 100, "other reasons: see the column status"
"""how many reasons are counted one by one, and what all others are counted as: reasons may quote what is in an image"""
COUNTED = ("label", "status", INPUTS)
"""columns of a shard; bundles on images alone lack the last"""
READERS = 8
"""shards that are read at a time"""


@dataclass(frozen=True)
class Shard:
    """What is in one shard."""

    sha256: str
    """of the file"""
    rows: int
    labels: dict[str, int]
    statuses: dict[str, int]
    inputs: dict[str, int]
    """by what its objects were judged, of a bundle that takes numbers beside images"""

    @classmethod
    def of(cls, data: bytes, *, whole: bool = False) -> Shard:
        """Count labels and statuses in a file's content; read all its columns to make sure that it is `whole`.

        Raises
        ------
        OSError, pyarrow.ArrowException, ValueError
            The content is damaged.
        """
        source = pa.BufferReader(data)
        columns = [name for name in COUNTED if name != INPUTS or name in pq.read_schema(source).names]
        table = pq.read_table(source, columns=None if whole else columns, page_checksum_verification=True)
        if whole:
            require_sealed(table, always=False)
        counts = ({row["values"]: row["counts"] for row in _counts(table, name)} for name in COUNTED)
        return cls(hashlib.sha256(data).hexdigest(), len(table), *counts)


@dataclass
class FinishedShards:
    """The shards that are written, and what is in all of them."""

    sha256: dict[int, str] = field(default_factory=dict)
    """by number"""
    rows: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    """how many were found to be each"""
    failed: Counter[str] = field(default_factory=Counter)
    """how many got no probabilities, by reason"""
    inputs: Counter[str] = field(default_factory=Counter)
    """how many were judged by ``both``, ``images`` or ``table``"""
    without_image: Counter[str] = field(default_factory=Counter)
    """how many were judged by their numbers alone, by what was wrong with the image"""

    def add(self, number: int, shard: Shard) -> None:
        """Count one more shard."""
        self.sha256[number] = shard.sha256
        self.rows += shard.rows
        self.classes.update({label: count for label, count in shard.labels.items() if label is not None})
        self.inputs.update({inputs: count for inputs, count in shard.inputs.items() if inputs is not None})
        for status, count in shard.statuses.items():
            if status != OK:
                counter = self.without_image if status.startswith(BY_NUMBERS) else self.failed
                reason = status.removeprefix(BY_NUMBERS)
                own = reason in counter or len(counter) < REASONS
                counter[reason if own else OTHER] += count


def _counts(table: pa.Table, name: str) -> list[dict[str, Any]]:
    return [] if name == INPUTS and name not in table.column_names else pc.value_counts(table[name]).to_pylist()


def require_ours(out: Path) -> None:
    """Raise `SpecError` if a folder holds something else than predictions."""
    if (out / MANIFEST).exists() or not out.is_dir():
        return
    if others := sorted(path.name for path in out.iterdir() if path.name != LOCK and not path.name.startswith(".")):
        raise SpecError(f"the folder {out} holds {others[0]}, which is no prediction of skythaw; give a new folder")


def begin(out: Path, binding: Mapping[str, Any]) -> dict[str, str]:
    """Write down what the folder belongs to, or compare with what is written there.

    Returns
    -------
    dict
        the checksums of shards, by their path below the folder, that an earlier manifest has

    Raises
    ------
    SpecError
        The folder belongs to something else, or holds other things.
    """
    path = out / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        written, lines = content["binding"], content.get("shards", [])
        known = {line["shard"]: line["sha256"] for line in lines if "sha256" in line}
    except FileNotFoundError:
        require_ours(out)
        write(out, unfinished(binding))
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(f"can't read {path}: {error!r}; give a new folder") from None
    for name, value in binding.items():
        if (before := written.get(name)) != value:
            raise SpecError(
                f"{out} holds predictions of another {name}: {str(before)[:80]}, now {str(value)[:80]}; repeat the "
                "command that began it, or give a new folder"
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
    """The file of a chunk's shard."""
    return out / _name(number)


def missing(out: Path, chunks: Sequence[Chunk], known: Mapping[str, str], done: FinishedShards) -> list[Chunk]:
    """The chunks without a whole shard; the shards of the others are counted in `done`.

    Each shard is read: its pages have checksums, and the whole file has one that may be `known`. Files that a kill left
    half-written are removed.
    """
    for file in (out / "shards").glob(".*.tmp"):
        file.unlink(missing_ok=True)
    lacking = []
    with ThreadPoolExecutor(READERS) as pool:
        for chunk, shard in zip(chunks, pool.map(lambda chunk: _whole(out, chunk, known), chunks), strict=True):
            if shard is None:
                lacking.append(chunk)
            else:
                done.add(chunk.number, shard)
    return lacking


def described(chunks: Sequence[Chunk], done: FinishedShards) -> list[dict[str, Any]]:
    """A line of the manifest for each shard."""
    lines = []
    for chunk in chunks:
        line = {"shard": _name(chunk.number), "input": chunk.file.shown, "first": chunk.first, "rows": len(chunk)}
        if chunk.number in done.sha256:
            line["sha256"] = done.sha256[chunk.number]
        lines.append(line)
    return lines


def _name(number: int) -> str:
    return f"shards/{number:08d}.parquet"


def _whole(out: Path, chunk: Chunk, known: Mapping[str, str]) -> Shard | None:
    """A chunk's shard, if it is there and undamaged."""
    try:
        shard = Shard.of(shard_path(out, chunk.number).read_bytes(), whole=True)
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    right = shard.rows == len(chunk) and known.get(_name(chunk.number), shard.sha256) == shard.sha256
    return shard if right else None
