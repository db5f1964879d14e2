"""Read the user's own catalogue of positions (CSV, ECSV, VOTable or Parquet); columns are found by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from skythaw.data.parquet import OWN
from skythaw.data.sources.label_table import LABEL_NAMES, column_of, refuse_ruined
from skythaw.data.sources.sdss.fetch_state import SkyObject
from skythaw.data.sources.sdss.user_tables import IDS, UNIT, UNREADABLE, batches_of, plain
from skythaw.errors import DataError, nearest

NAMES = {
    "object_id": IDS,
    "ra": ("ra", "photora", "ra_deg", "raj2000", "_raj2000", "ra_icrs", "alpha"),
    "dec": ("dec", "photodec", "dec_deg", "decdeg", "de", "dej2000", "_dej2000", "de_icrs", "delta"),
    "label": LABEL_NAMES,
    "run": ("run",),
    "camcol": ("camcol",),
    "field": ("field",),
}
NEEDED = ("ra", "dec")
FRAME = ("run", "camcol", "field")
Columns = Sequence[tuple[str, pa.DataType]]


@dataclass(frozen=True)
class Catalog:
    """Positions, and the columns that come with them."""

    columns: Columns
    """names and types of the columns that are kept beside id, label, position and field"""
    items: Iterator[SkyObject]


def read_catalog(source: Path | bytes, called: Mapping[str, str]) -> Catalog:
    """Open a catalogue; its rows are read as they are asked for.

    Parameters
    ----------
    source
        a file, whose ending tells its format; or the text of a CSV
    called
        names of columns that are not found by their usual names; the keys are those of `NAMES`

    Raises
    ------
    DataError
        It can't be read, has no positions, or has ids that a spreadsheet rounded. Positions are not checked here.
    """
    name = "the query's reply" if isinstance(source, bytes) else str(source)
    try:
        batches = batches_of(source, {called[key] for key in ("object_id", "label") if key in called})
        first = next(batches, None)
    except UNREADABLE as error:
        text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"can't read {name} as a catalogue: {text}") from None
    if first is None or not first.num_rows:
        raise DataError(f"{name} has no rows")
    columns_of = _find(first.schema.names, called, name)
    _require_degrees(first.schema, [columns_of[key] for key in NEEDED], name)
    used = {column for key, column in columns_of.items() if key not in FRAME}
    own = {*OWN, "ra", "dec", "pixel_scale", "release", "image_path"}
    others = [field for field in first.schema if field.name not in used | own and field.name.lower() not in FRAME]
    columns = [(field.name, plain(field.type)) for field in others]
    columns = [(column, kind) for column, kind in columns if kind is not None]
    return Catalog(columns, _items(first, batches, columns_of, [column for column, _ in columns], name))


def _find(header: Sequence[str], called: Mapping[str, str], name: str) -> dict[str, str]:
    """The column for each key of `NAMES` that has one."""
    if odd := sorted(set(called) - set(NAMES)):
        raise DataError(f"a column can't be called {odd[0]!r}; {nearest(odd[0], NAMES)}")
    if lost := [column for column in called.values() if column not in header]:
        raise DataError(f"{name} has no column {lost[0]!r}; {nearest(lost[0], header)}")
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise DataError(f"{name} has two columns called {twice[0]!r}")
    numbers = {key: column_of(header, names) for key, names in NAMES.items()}
    found = {key: header[number] for key, number in numbers.items() if number is not None} | dict(called)
    for key in NEEDED:
        if key not in found:
            raise DataError(
                f"{name} has no column for {key}; call it {', '.join(NAMES[key][:-1])} or {NAMES[key][-1]}, "
                f"or name it with --column {key}=NAME; the columns are {', '.join(header[:20])}"
            )
    return found


def _require_degrees(schema: pa.Schema, columns: Sequence[str], name: str) -> None:
    """Raise `DataError` if the unit of a position is not the degree."""
    for column in columns:
        unit = ((schema.field(column).metadata or {}).get(UNIT) or b"deg").decode()
        if unit not in ("deg", "degree", "degrees"):
            raise DataError(f"{name}: column {column!r} is in {unit}; positions should be in degrees")


def _items(
    first: pa.RecordBatch, batches: Iterator[pa.RecordBatch], found: Mapping[str, str], extra: Sequence[str], name: str
) -> Iterator[SkyObject]:
    number = 0
    for batch in _chain(first, batches, name):
        own = {key: batch.column(batch.schema.names.index(column)) for key, column in found.items()}
        ids = _ids(own.get("object_id"), found.get("object_id", ""), batch.num_rows, number, name)
        values = {column: batch.column(batch.schema.names.index(column)).to_pylist() for column in extra}
        ra, dec = (_degrees(own[key], name, found[key]) for key in NEEDED)
        labels = _labels(own.get("label"), batch.num_rows)
        frames = _frames(own, batch.num_rows)
        for i in range(batch.num_rows):
            row = {column: _finite(cells[i]) for column, cells in values.items()}
            yield SkyObject(ids[i], labels[i], ra[i], dec[i], None, frames[i], row)
        number += batch.num_rows


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    yield first
    try:
        yield from rest
    except UNREADABLE as error:
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
    ids = values.cast(pa.string()).to_pylist()
    refuse_ruined(name, column, ids)
    return ids


def _labels(values: pa.Array | None, rows: int) -> list[str | None]:
    if values is None:
        return [None] * rows
    return [label or None for label in values.cast(pa.string()).to_pylist()]


def _degrees(values: pa.Array, name: str, column: str) -> list[float | None]:
    try:
        return [None if v is None or not math.isfinite(v) else v for v in values.cast(pa.float64()).to_pylist()]
    except pa.ArrowException:
        shown = next((v for v in values.to_pylist() if not _is_number(v)), "")
        raise DataError(f"{name}: column {column!r} should hold degrees, not {shown!r}") from None


def _is_number(value: Any) -> bool:
    try:
        float(value or 0)
    except ValueError:
        return False
    return True


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
