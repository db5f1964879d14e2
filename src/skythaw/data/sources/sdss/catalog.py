"""The user's own positions: CSV, ECSV, VOTable or Parquet, columns found by name, read in bounded memory."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from skythaw.data.parquet import OWN
from skythaw.data.sources.labels import WHOLE, ZERO_LED, refuse_ruined
from skythaw.data.sources.sdss.state import Item
from skythaw.errors import DataError, nearest

NAMES = {
    "object_id": ("object_id", "objid", "specobjid", "source_id", "id", "name"),
    "ra": ("ra", "photora", "ra_deg", "raj2000", "_raj2000", "ra_icrs", "alpha"),
    "dec": ("dec", "photodec", "dec_deg", "decdeg", "de", "dej2000", "_dej2000", "de_icrs", "delta"),
    "label": ("label", "class"),
    "run": ("run",),
    "camcol": ("camcol",),
    "field": ("field",),
}
NEEDED = ("ra", "dec")
FRAME = ("run", "camcol", "field")
LARGEST_TEXT = 256 << 20
"""bytes of an ECSV or VOTable, which are read whole"""
Columns = Sequence[tuple[str, pa.DataType]]


@dataclass(frozen=True)
class Catalog:
    """Positions, and the columns that come with them."""

    columns: Columns
    """name and type of those that are kept beside id, label, position and field"""
    items: Iterator[Item]


def read_catalog(source: Path | bytes, called: Mapping[str, str]) -> Catalog:
    """Open a catalogue; its rows are read as they are asked for.

    Parameters
    ----------
    source
        a file, its kind told by its ending; or the text of a CSV
    called
        what columns are called, where their names don't tell: keys as in `NAMES`

    Raises
    ------
    DataError
        It can't be read, has no positions, or ids ruined by a spreadsheet. A row's position is not judged here.
    """
    name = "the query's reply" if isinstance(source, bytes) else str(source)
    try:
        batches = _batches(source)
        first = next(batches, None)
    except (OSError, pa.ArrowException, ValueError, StopIteration) as error:
        text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"can't read {name} as a catalogue: {text}") from None
    if first is None or not first.num_rows:
        raise DataError(f"{name} has no rows")
    found = _find(first.schema.names, called, name)
    spoken = {column for key, column in found.items() if key not in FRAME}
    own = {*OWN, "ra", "dec", "pixel_scale", "release"}
    kept = [field for field in first.schema if field.name not in spoken | own and field.name.lower() not in FRAME]
    columns = [(field.name, _plain(field.type)) for field in kept]
    columns = [(column, kind) for column, kind in columns if kind is not None]
    return Catalog(columns, _items(first, batches, found, [column for column, _ in columns], name))


def _find(there: Sequence[str], called: Mapping[str, str], name: str) -> dict[str, str]:
    """Which column is which."""
    if odd := sorted(set(called) - set(NAMES)):
        raise DataError(f"a column can't be called {odd[0]!r}; {nearest(odd[0], NAMES)}")
    if lost := [column for column in called.values() if column not in there]:
        raise DataError(f"{name} has no column {lost[0]!r}; {nearest(lost[0], there)}")
    lower = {column.lower(): column for column in reversed(there)}
    found = {
        key: called.get(key) or next(lower[each] for each in names if each in lower)
        for key, names in NAMES.items()
        if key in called or any(each in lower for each in names)
    }
    for key in NEEDED:
        if key not in found:
            raise DataError(
                f"{name} has no column for {key}: one of {', '.join(NAMES[key])}, or say which by --column {key}=NAME; "
                f"it has {', '.join(there[:20])}"
            )
    return found


def _batches(source: Path | bytes) -> Iterator[pa.RecordBatch]:
    """The rows, some at a time, with columns of text, whole numbers, numbers or truth."""
    if isinstance(source, bytes):
        yield from _csv(lambda: io.BytesIO(source))
    elif source.suffix.lower() == ".parquet":
        with pq.ParquetFile(source) as file:
            plain = [f.name for f in file.schema_arrow if _plain(f.type) is not None]
            yield from file.iter_batches(10_000, columns=plain)
    elif source.suffix.lower() == ".csv":
        yield from _csv(lambda: source.open("rb"))
    elif source.suffix.lower() in (".ecsv", ".vot", ".votable", ".xml"):
        yield from _astropy(source)
    else:
        raise ValueError(f"its name should end in .csv, .ecsv, .vot, .xml or .parquet, not {source.suffix!r}")


def _csv(opened: Any) -> Iterator[pa.RecordBatch]:
    """A CSV, read twice: once for the type of each column, once for its rows. Empty cells are null."""
    kinds: dict[str, pa.DataType] = {}
    for batch in _csv_text(opened):
        for column, values in zip(batch.schema.names, batch.columns, strict=True):
            kinds[column] = _kind(column, values, kinds.get(column, pa.null()))
    for batch in _csv_text(opened):
        arrays = [
            values.cast(_settled(kinds[column]))
            for column, values in zip(batch.schema.names, batch.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _kind(column: str, values: pa.Array, before: pa.DataType) -> pa.DataType:
    """The narrowest type that holds these texts and those before: whole numbers, numbers, text. An id stays text."""
    given = values.drop_null()
    if before == pa.string() or column.lower().endswith("id"):
        return pa.string()
    if not len(given):
        return before
    if before != pa.float64() and pc.all(pc.match_substring_regex(given, f"^(?:{WHOLE.pattern})$")).as_py():
        return pa.int64()
    if pc.any(pc.match_substring_regex(given, f"^(?:{ZERO_LED.pattern})$")).as_py():
        return pa.string()
    try:
        given.cast(pa.float64())
    except pa.ArrowException:
        return pa.string()
    return pa.float64()


def _settled(kind: pa.DataType) -> pa.DataType:
    """A column that is empty throughout is text."""
    return pa.string() if pa.types.is_null(kind) else kind


def _csv_text(opened: Any) -> Iterator[pa.RecordBatch]:
    with opened() as file:
        skip, header = 0, file.readline(1 << 20)
        while header.startswith(b"#"):
            skip, header = skip + 1, file.readline(1 << 20)
        text = header.decode("utf-8-sig").strip()
    delimiter = max(",;\t", key=text.count)
    columns = [column.strip().strip('"') for column in text.split(delimiter)]
    if len(set(columns)) < len(columns) or not all(columns):
        raise ValueError("two columns of one name, or one without")
    with opened() as file:
        reader = pyarrow.csv.open_csv(
            file,
            pyarrow.csv.ReadOptions(skip_rows=skip + 1, column_names=columns, block_size=1 << 20),
            pyarrow.csv.ParseOptions(delimiter=delimiter),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=True,
                null_values=["", "null", "NULL"],
            ),
        )
        yield from reader


def _astropy(path: Path) -> Iterator[pa.RecordBatch]:
    """ECSV or VOTable, through astropy; XML with entities is refused."""
    from astropy.table import Table

    if path.stat().st_size > LARGEST_TEXT:
        raise ValueError(f"more than {LARGEST_TEXT >> 20} MiB; make it Parquet or CSV, which are read bit by bit")
    ecsv = path.suffix.lower() == ".ecsv"
    if not ecsv:
        with path.open("rb") as file:
            text = file.read()
        if b"<!ENTITY" in text.upper() or b"<!DOCTYPE" in text.upper():
            raise ValueError("a VOTable with entities or a document type is not read")
    try:
        table = Table.read(path, format="ascii.ecsv" if ecsv else "votable")
    except Exception as error:  # astropy raises many kinds on a torn file
        raise ValueError(str(error) or type(error).__name__) from None
    table.convert_bytestring_to_unicode()
    arrays = {}
    for column in table.colnames:
        if table[column].ndim == 1:
            arrays[column] = pa.array(table[column].tolist())
    yield from pa.table(arrays).to_batches(10_000)


def _plain(kind: pa.DataType) -> pa.DataType | None:
    """The type a column is kept as; None if it is not kept."""
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return kind
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.float64() if pa.types.is_floating(kind) else None


def _items(
    first: pa.RecordBatch, batches: Iterator[pa.RecordBatch], found: Mapping[str, str], extra: Sequence[str], name: str
) -> Iterator[Item]:
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
            yield Item(ids[i], labels[i], ra[i], dec[i], None, frames[i], row)
        number += batch.num_rows


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    yield first
    try:
        yield from rest
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(f"can't read {name} as a catalogue: {' '.join(str(error).split())[:200]}") from None


def _ids(values: pa.Array | None, column: str, rows: int, before: int, name: str) -> list[str]:
    """Ids as text; rows are numbered where there are none."""
    if values is None:
        return [f"{before + i + 1:07d}" for i in range(rows)]
    if pa.types.is_floating(values.type):
        raise DataError(f"{name}: column {column!r} holds decimal numbers, which lose digits of ids; make it text")
    if values.null_count:
        raise DataError(f"{name}: column {column!r} is empty in {values.null_count} rows; every object needs an id")
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
        shown = next((v for v in values.to_pylist() if v), "")
        raise DataError(f"{name}: column {column!r} should hold degrees, not {shown!r}") from None


def _frames(own: Mapping[str, pa.Array], rows: int) -> list[tuple[int, int, int] | None]:
    if any(key not in own for key in FRAME):
        return [None] * rows
    try:
        parts = [pc.cast(own[key], pa.int64()).to_pylist() for key in FRAME]
    except pa.ArrowException:
        return [None] * rows
    return [None if None in each else each for each in zip(*parts, strict=True)]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
