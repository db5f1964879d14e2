"""Read the tables of users as Arrow batches, whatever the file is called; a hostile file does no harm.

The content tells the format: text (CSV and the like), JSON, ECSV, VOTable, FITS, Parquet or Excel. Text and
Parquet are read by Arrow in bounded memory; astropy would read them whole, and would turn ids in a CSV into numbers.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from skythaw.data.parquet_images import refuse_packed_texts
from skythaw.data.sources.astropy_tables import LARGEST_TEXT, UNIT, astropy_batches
from skythaw.data.sources.commented_header import commented_header
from skythaw.data.sources.dropped_columns import noting
from skythaw.data.sources.excel_table import excel_batches
from skythaw.data.sources.text_tables import LONGEST_LINE, Opened, encoding_of, opening, separator_of
from skythaw.machine.files import is_web_page

__all__ = ["UNIT", "UNREADABLE", "batches_of", "plain", "table_format"]

IDS = ("object_id", "objid", "specobjid", "source_id", "id", "name")
TEXT = re.compile("id$|^(" + "|".join((*IDS, "label", "class")) + ")$", re.IGNORECASE)
"""names of CSV columns that stay text, whatever they hold"""
ZERO_LED = re.compile(r"[+-]?0\d+")
EMPTY = ("", "null", "NULL")
UNREADABLE = (
    *(OSError, pa.ArrowException, ValueError, OverflowError, StopIteration, EOFError, zlib.error),
    *(zipfile.BadZipFile, LookupError),
)
TEXT_FORMAT = "text"
BEGINNINGS = {
    b"PAR1": "Parquet",
    b"SIMPLE  =": "FITS",
    b"PK\x03\x04": "Excel",
    b"# %ECSV": "ECSV",
    b"<": "VOTable",
    b"{": "JSON lines",
    b"[": "JSON array",
}
NO_TABLES = {
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls): save it as .xlsx or as CSV",
    b"\x89HDF": "an HDF5 file: save its table as Parquet or as CSV",
    b"ARROW1": "a Feather file: save its table as Parquet or as CSV",
    b"SQLite": "an SQLite database: save its table as Parquet or as CSV",
}
LARGEST_JSON = 32 << 20
"""bytes of a JSON array, which Python reads whole"""


def batches_of(source: Path | bytes, texts: set[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a table, some at a time. Columns hold text, whole numbers, decimal numbers, or true and false.

    Parameters
    ----------
    source
        a file; or the text of a CSV
    texts
        names of further CSV columns that stay text

    Raises
    ------
    UNREADABLE
        The file can't be read as its content promises.
    """
    if isinstance(source, bytes):
        yield from _csv(lambda: io.BytesIO(source), texts)
        return
    kind, opened = table_format(source), opening(source)
    if kind == "Parquet":
        yield from _parquet(source)
    elif kind == "Excel":
        yield from _narrowed(excel_batches(source), texts)
    elif kind == TEXT_FORMAT:
        yield from _csv(opened, texts)
    elif kind == "JSON lines":
        yield from _json_lines(opened)
    elif kind == "JSON array":
        yield from _json_array(opened)
    else:
        yield from astropy_batches(source, kind, opened)


def table_format(path: Path) -> str:
    """What the content of a file, unpacked from gzip, says that it is: text, JSON lines, ECSV, VOTable ...

    Raises
    ------
    ValueError
        It is of another format, which is named.
    """
    with opening(path)() as file:
        start = file.read(200).removeprefix(b"\xef\xbb\xbf").lstrip()
    if found := next((what for magic, what in NO_TABLES.items() if start.startswith(magic)), None):
        raise ValueError(f"it is {found}")
    if is_web_page(start):
        raise ValueError("it is a web page, and no table: was a page saved in place of the file?")
    return next((kind for magic, kind in BEGINNINGS.items() if start.startswith(magic)), TEXT_FORMAT)


def _parquet(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        names, dropped = _kept(file.schema_arrow)
        refuse_packed_texts(path, file, names)
        for batch in file.iter_batches(10_000, columns=names):
            batch.validate(full=True)  # text that is no UTF-8
            arrays = [_as_plain(column) for column in batch.columns]
            yield noting(pa.RecordBatch.from_arrays(arrays, names=batch.schema.names), dropped)


def _kept(schema: pa.Schema) -> tuple[list[str], dict[str, pa.DataType]]:
    """The columns that hold plain values, and the types of the others."""
    kept = [each.name for each in schema if plain(each.type) is not None]
    return kept, {each.name: each.type for each in schema if each.name not in kept}


def _as_plain(values: pa.Array) -> pa.Array:
    """Values of a dictionary one by one, and decimal fractions as numbers."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.cast(pa.float64()) if pa.types.is_decimal(values.type) else values


def _json_lines(opened: Opened) -> Iterator[pa.RecordBatch]:
    """The plain columns of a file with one JSON object in each line."""
    with opened() as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise ValueError(f"it has more than {LARGEST_TEXT >> 20} MiB, and JSON lines are read whole")
    table = pyarrow.json.read_json(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")))
    kept, dropped = _kept(table.schema)
    if not kept:
        raise ValueError(
            "its JSON holds no plain values; pandas writes what is read with to_json(FILE, orient='records')"
        )
    yield from (noting(batch, dropped) for batch in table.select(kept).to_batches())


def _json_array(opened: Opened) -> Iterator[pa.RecordBatch]:
    """The plain columns of a JSON array of objects, as pandas writes with ``orient="records"``."""
    with opened() as file:
        content = file.read(LARGEST_JSON + 1)
    if len(content) > LARGEST_JSON:
        raise ValueError(f"it has more than {LARGEST_JSON >> 20} MiB; write it as JSON lines, one object a line")
    try:
        rows = json.loads(content.decode("utf-8-sig"))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"it is no JSON: {str(error)[:100]}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError('it is a JSON array, but not of objects such as {"file": ..., "label": ...}')
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    kept, dropped = _kept(table.schema)
    yield from (noting(batch, dropped) for batch in table.select(kept).to_batches())


def _csv(opened: Opened, texts: set[str]) -> Iterator[pa.RecordBatch]:
    """A CSV is read twice: once for the type of each column, and once for its rows. Empty cells are null."""
    read = _csv_text(opened)
    kinds = _kinds(read(), texts)
    yield from (_cast(batch, kinds) for batch in read())


def _narrowed(batches: Sequence[pa.RecordBatch], texts: set[str]) -> Iterator[pa.RecordBatch]:
    kinds = _kinds(batches, texts)
    yield from (_cast(batch, kinds) for batch in batches)


def _kinds(batches: Iterable[pa.RecordBatch], texts: set[str]) -> dict[str, pa.DataType]:
    """The type of each column of text."""
    kinds: dict[str, pa.DataType] = {}
    for batch in batches:
        for column, values in zip(batch.schema.names, batch.columns, strict=True):
            text = column in texts or TEXT.search(column)
            kinds[column] = _kind(values, pa.string() if text else kinds.get(column, pa.null()))
    return {column: pa.string() if pa.types.is_null(kind) else kind for column, kind in kinds.items()}


def _cast(batch: pa.RecordBatch, kinds: dict[str, pa.DataType]) -> pa.RecordBatch:
    arrays = [values.cast(kinds[column]) for column, values in zip(batch.schema.names, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _kind(values: pa.Array, before: pa.DataType) -> pa.DataType:
    """The narrowest type that loses no digit of these texts and those before: whole numbers, numbers or text."""
    given = values.drop_null()
    if before == pa.string() or not len(given):
        return before
    if before != pa.float64() and pc.all(pc.match_substring_regex(given, r"^-?(0|[1-9]\d{0,17})$")).as_py():
        return pa.int64()
    if pc.any(pc.match_substring_regex(given, rf"^(?:{ZERO_LED.pattern}|[+-]?\d{{19,}})$")).as_py():
        return pa.string()
    try:
        given.cast(pa.float64())
    except pa.ArrowException:
        return pa.string()
    return pa.float64()


def _csv_text(opened: Opened) -> Callable[[], Iterator[pa.RecordBatch]]:
    """A function that reads all cells of a CSV as text."""
    encoding = encoding_of(opened)
    with opened() as file, io.TextIOWrapper(file, encoding, newline="") as text:
        skip, header, comment = 0, text.readline(LONGEST_LINE), ""
        while header.startswith("#"):
            skip, header, comment = skip + 1, text.readline(LONGEST_LINE), header
    header = header.strip("\r\n")
    if header.startswith("<"):
        raise ValueError(f"it begins like XML or a web page ({header[:20]!r}), not like a table")
    if not header:
        raise ValueError("it has no first line with the names of its columns")
    separator = separator_of(header)
    named = commented_header(comment, header, separator)
    given = named or [column.strip() for column in next(csv.reader([header], delimiter=separator))]
    if twice := next((name for name in given if name and given.count(name) > 1), None):
        raise ValueError(f"two columns are called {twice!r}")
    columns = [name or f"(column {place})" for place, name in enumerate(given, 1)]
    kept = [name for name in given if name]  # pandas' index has no name
    own: dict[str, Any] = {"encoding": "utf8" if encoding == "utf-8-sig" else encoding}

    def read() -> Iterator[pa.RecordBatch]:
        with opened() as file:
            reader = pyarrow.csv.open_csv(
                file,
                pyarrow.csv.ReadOptions(
                    skip_rows=skip + (named is None), column_names=columns, block_size=1 << 20, **own
                ),
                pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.string()),
                    include_columns=kept,
                    strings_can_be_null=True,
                ),
            )
            for batch in reader:
                cells = [pc.utf8_trim_whitespace(column) for column in batch.columns]
                cells = [pc.if_else(pc.is_in(column, pa.array(EMPTY)), None, column) for column in cells]
                yield pa.RecordBatch.from_arrays(cells, names=kept)

    return read


def plain(kind: pa.DataType) -> pa.DataType | None:
    """The type with which a column is kept; None if it is not kept."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return kind
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.float64() if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else None
