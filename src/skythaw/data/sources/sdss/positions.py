"""Read the user's own catalogue of positions, in any format of `user_tables`; columns are found by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from skythaw.data.class_names import is_no_label
from skythaw.data.parquet import OWN
from skythaw.data.sources.column_names import (
    CATALOGUE_LABELS,
    DEC_NAMES,
    FRAME,
    RA_NAMES,
    any_of,
    column_of,
    given_columns,
)
from skythaw.data.sources.dropped_columns import dropped_of, say_dropped
from skythaw.data.sources.rounded_ids import RoundedIds, refuse_rounded, refuse_ruined
from skythaw.data.sources.sdss.state_rows import SkyObject
from skythaw.data.sources.sky_positions import Axis, PositionCheck, read_degrees, split_name
from skythaw.data.sources.user_tables import IDS, UNIT, UNREADABLE, batches_of, plain
from skythaw.errors import DataError
from skythaw.machine.machine_fault import raise_if_memory_is_short

NAMES = {
    "object_id": IDS,
    "ra": RA_NAMES,
    "dec": DEC_NAMES,
    "label": CATALOGUE_LABELS,
    **{name: (name,) for name in FRAME},
}
NEEDED: tuple[Axis, Axis] = ("ra", "dec")
Columns = Sequence[tuple[str, pa.DataType]]


@dataclass(frozen=True)
class Catalog:
    """Positions, and the columns that come with them."""

    columns: Columns
    """names and types of the columns that are kept beside id, label, position and field"""
    items: Iterator[SkyObject]
    notes: list[str] = field(default_factory=list)
    """what is said of the positions; complete when all items were read"""


@dataclass(frozen=True)
class _Reading:
    """What is needed to read the rows of a catalogue."""

    name: str
    columns: Mapping[str, str]
    """the column of each key of `NAMES` that has one"""
    extra: Sequence[str]
    check: PositionCheck
    rounded: RoundedIds
    notes: list[str]


def read_catalog(source: Path | bytes, called: Mapping[str, str]) -> Catalog:
    """Open a catalogue; its rows are read as they are asked for.

    Parameters
    ----------
    source
        a file; or the text of a CSV
    called
        names of columns that are not found by their usual names; the keys are those of `NAMES`

    Raises
    ------
    DataError
        It can't be read, has no positions, or has ids that were rounded. Whether a position is one is not checked.
    """
    name = "the query's reply" if isinstance(source, bytes) else str(source)
    try:
        batches = batches_of(source, {called[key] for key in ("object_id", "label") if key in called})
        first = next(batches, None)
    except UNREADABLE as error:
        raise_if_memory_is_short(error)
        text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"can't read {name} as a catalogue: {text}") from None
    if first is None or not first.num_rows:
        raise DataError(f"{name} has no rows")
    columns_of = _find(first.schema.names, called, name)
    used = {column for key, column in columns_of.items() if key not in FRAME}
    own = {*OWN, "ra", "dec", "pixel_scale", "release", "image_path"}
    others = [field for field in first.schema if field.name not in used | own and field.name.lower() not in FRAME]
    columns = [(field.name, plain(field.type)) for field in others]
    columns = [(column, kind) for column, kind in columns if kind is not None]
    extra = [column for column, _ in columns]
    gone = [column for column in first.schema.names if column not in used | set(extra) and column.lower() not in FRAME]
    rounded = RoundedIds(columns_of.get("object_id", ""))
    notes = [f"left out of {name}, for the images bring their own: {', '.join(gone)}"]
    reading = _Reading(name, columns_of, extra, PositionCheck(), rounded, notes if gone else [])
    reading.notes.extend(say_dropped(name, dropped_of(first.schema)))
    return Catalog(columns, _items(first, batches, reading), reading.notes)


def _find(header: Sequence[str], called: Mapping[str, str], name: str) -> dict[str, str]:
    """The column for each key of `NAMES` that has one."""
    called = {"object_id" if key == "id" else key: column for key, column in called.items()}
    given = given_columns(name, header, called, tuple(NAMES))
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise DataError(f"{name} has two columns called {twice[0]!r}")
    plainly = [split_name(column)[0] for column in header]
    numbers = {key: column_of(plainly, names) for key, names in NAMES.items()} | given
    found = {key: header[number] for key, number in numbers.items() if number is not None}
    for key in NEEDED:
        if key not in found:
            raise DataError(
                f"{name} has no column for {key}; call it {any_of(NAMES[key][:7])}, "
                f"or name it with --column {key}=NAME; the columns are {', '.join(header[:20])}"
            )
    return found


def _items(first: pa.RecordBatch, batches: Iterator[pa.RecordBatch], reading: _Reading) -> Iterator[SkyObject]:
    number, column = 0, reading.columns.get("object_id", "")
    for batch in _chain(first, batches, reading.name):
        own = {key: batch.column(batch.schema.names.index(found)) for key, found in reading.columns.items()}
        ids = _ids(own.get("object_id"), column, batch.num_rows, number, reading.name)
        reading.rounded.add(ids)
        extra = {each: batch.column(batch.schema.names.index(each)).to_pylist() for each in reading.extra}
        ra, dec = (_degrees(batch, reading, key, number) for key in NEEDED)
        ra = reading.check.wrap(ra, dec)
        labels = _labels(own.get("label"), batch.num_rows)
        frames = _frames(own, batch.num_rows)
        for i in range(batch.num_rows):
            row = {each: _finite(cells[i]) for each, cells in extra.items()}
            yield SkyObject(ids[i], labels[i], ra[i], dec[i], None, frames[i], row)
        number += batch.num_rows
    refuse_rounded(reading.name, column, reading.rounded)
    reading.notes.extend(reading.check.notes)


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    yield first
    try:
        yield from rest
    except UNREADABLE as error:
        raise_if_memory_is_short(error)
        raise DataError(f"can't read {name} as a catalogue: {' '.join(str(error).split())[:200]}") from None


def _ids(values: pa.Array | None, column: str, rows: int, before: int, name: str) -> list[str]:
    """Ids as text; rows are numbered where there are none."""
    if values is None:
        return [f"{before + i + 1:07d}" for i in range(rows)]
    if pa.types.is_floating(values.type):
        raise DataError(
            f"{name}: the ids in column {column!r} are decimal numbers, which lose digits; make the column text"
        )
    if values.null_count:
        raise DataError(f"{name}: column {column!r} is empty in {values.null_count} rows, and every object needs an id")
    ids: list[str] = values.cast(pa.string()).to_pylist()
    refuse_ruined(name, column, ids)
    return ids


def _labels(values: pa.Array | None, rows: int) -> list[str | None]:
    if values is None:
        return [None] * rows
    return [None if each is None or is_no_label(each) else each for each in values.cast(pa.string()).to_pylist()]


def _degrees(batch: pa.RecordBatch, reading: _Reading, axis: Axis, before: int) -> list[float | None]:
    column = reading.columns[axis]
    values = batch.column(batch.schema.names.index(column)).to_pylist()
    unit = ((batch.schema.field(column).metadata or {}).get(UNIT) or b"").decode() or split_name(column)[1]
    try:
        return read_degrees(values, axis, unit)
    except ValueError as error:
        row, what = error.args
        raise DataError(
            f"{reading.name}, row {before + row + 1}: column {column!r} should hold degrees, not {what}"
        ) from None


def _frames(own: Mapping[str, pa.Array], rows: int) -> list[tuple[int, int, int] | None]:
    if any(key not in own for key in FRAME):
        return [None] * rows
    try:
        parts = [pc.cast(own[key], pa.int64()).to_pylist() for key in FRAME]
    except pa.ArrowException:
        return [None] * rows
    return [None if None in frame else frame for frame in zip(*parts, strict=True)]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
