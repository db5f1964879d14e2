"""The folder of a survey's predictions: its shards, and the manifest that says what they are. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skythaw.data.files import replacing
from skythaw.errors import SpecError
from skythaw.serving.pieces import Piece
from skythaw.serving.tables import LOCK

MANIFEST = "manifest.json"
SCHEMA = 1
OK = "ok"


@dataclass
class Counted:
    """What is in some shards."""

    rows: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    """how many were found to be each"""
    failed: Counter[str] = field(default_factory=Counter)
    """how many got no probabilities, by reason"""


def begin(out: Path, binding: Mapping[str, Any]) -> None:
    """Write down what the folder is of, or hold it against what is written there.

    Raises
    ------
    SpecError
        It is of something else, or holds other things.
    """
    path = out / MANIFEST
    try:
        there = json.loads(path.read_text(encoding="utf-8"))["binding"]
    except FileNotFoundError:
        if odd := sorted(each.name for each in out.iterdir() if each.name != LOCK and not each.name.startswith(".")):
            raise SpecError(
                f"{out} is there and holds no predictions of ours, but {odd[0]}; give a new folder"
            ) from None
        write(out, {"schema": SCHEMA, "complete": False, "binding": dict(binding)})
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(f"can't read {path}: {error!r}; give a new folder") from None
    for name, value in binding.items():
        if there.get(name) != value:
            raise SpecError(
                f"{out} holds predictions of another {name}: {str(there.get(name))[:80]}, now {str(value)[:80]}; give "
                "the command it was begun by, or a new folder"
            )


def write(out: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest."""
    with replacing(out / MANIFEST) as file:
        file.write(json.dumps(content, indent=1).encode())


def shard_path(out: Path, number: int) -> Path:
    """Where the shard of a piece is."""
    return out / "shards" / f"{number:08d}.parquet"


def lacking(out: Path, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces without a shard; what a kill left half-written is removed."""
    for file in (out / "shards").glob(".*.tmp"):
        file.unlink(missing_ok=True)
    return [piece for piece in pieces if not _is_whole(shard_path(out, piece.number), len(piece))]


def described(out: Path, pieces: Sequence[Piece], counted: Counted) -> list[dict[str, Any]]:
    """A line of the manifest for each shard; what is in it is counted."""
    lines = []
    for piece in pieces:
        path = shard_path(out, piece.number)
        line = {"shard": path.relative_to(out).as_posix(), "input": piece.address, "first": piece.first}
        line |= {"rows": len(piece)}
        if path.exists():
            data = path.read_bytes()
            count(pq.read_table(pa.BufferReader(data), columns=["label", "status"]), counted)
            line["sha256"] = hashlib.sha256(data).hexdigest()
        lines.append(line)
    return lines


def count(table: pa.Table, counted: Counted) -> None:
    """Count some rows."""
    counted.rows += len(table)
    for name, into in (("label", counted.classes), ("status", counted.failed)):
        for each in pc.value_counts(table[name]).to_pylist():
            if each["values"] not in (None, OK):
                into[each["values"]] += each["counts"]


def _is_whole(path: Path, rows: int) -> bool:
    try:
        with pq.ParquetFile(path) as file:
            return bool(file.metadata.num_rows == rows)
    except (OSError, pa.ArrowException):
        return False
