"""Read the tables of users (CSV, ECSV, VOTable, Parquet) as Arrow batches; a hostile file does no harm.

Astropy's `Table.read` serves for ECSV and VOTable, which are read whole. CSV and Parquet are read by Arrow in bounded
memory; astropy would read them whole, and would turn ids in a CSV into numbers.
"""

from __future__ import annotations

import codecs
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from skythaw.data.sources.label_table import LABEL_NAMES, ZERO_LED

IDS = ("object_id", "objid", "specobjid", "source_id", "id", "name")
UNIT = b"unit"
"""key in the metadata of a field"""
TEXT = re.compile("id$|^(" + "|".join((*IDS, *LABEL_NAMES)) + ")$", re.IGNORECASE)
"""names of CSV columns that stay text, whatever they hold"""
EMPTY = ("", "null", "NULL")
ELSEWHERE = re.compile(rb"<!ENTITY|<!DOCTYPE|STREAM\b[^<]*\shref\s*=|\0", re.IGNORECASE)
"""parts of XML that make it grow or read other files; the null byte shows another encoding, in which they would hide"""
UNREADABLE = (OSError, pa.ArrowException, ValueError, OverflowError, StopIteration)
LARGEST_TEXT = 256 << 20
"""bytes of an ECSV file or a VOTable, which are read whole"""


def batches_of(source: Path | bytes, texts: set[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a table, some at a time. Columns hold text, whole numbers, decimal numbers, or true and false.

    Parameters
    ----------
    source
        a file, whose ending tells its format; or the text of a CSV
    texts
        names of further CSV columns that stay text

    Raises
    ------
    UNREADABLE
        The file can't be read as its ending promises.
    """
    if isinstance(source, bytes):
        yield from _csv(lambda: io.BytesIO(source), texts)
    elif source.suffix.lower() == ".parquet":
        with pq.ParquetFile(source) as file:
            names = [field.name for field in file.schema_arrow if plain(field.type) is not None]
            for batch in file.iter_batches(10_000, columns=names):
                batch.validate(full=True)  # text that is no UTF-8
                arrays = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
                yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
    elif source.suffix.lower() == ".csv":
        yield from _csv(lambda: source.open("rb"), texts)
    elif source.suffix.lower() in (".ecsv", ".vot", ".votable", ".xml"):
        yield from _astropy(source)
    else:
        raise ValueError(f"its name should end in .csv, .ecsv, .vot, .xml or .parquet, not {source.suffix!r}")


def _csv(opened: Any, texts: set[str]) -> Iterator[pa.RecordBatch]:
    """A CSV is read twice: once for the type of each column, and once for its rows. Empty cells are null."""
    kinds: dict[str, pa.DataType] = {}
    for batch in _csv_text(opened):
        for column, values in zip(batch.schema.names, batch.columns, strict=True):
            text = column in texts or TEXT.search(column)
            kinds[column] = _kind(values, pa.string() if text else kinds.get(column, pa.null()))
    for batch in _csv_text(opened):
        arrays = [
            values.cast(pa.string() if pa.types.is_null(kinds[column]) else kinds[column])
            for column, values in zip(batch.schema.names, batch.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


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


def _csv_text(opened: Any) -> Iterator[pa.RecordBatch]:
    with opened() as file:
        skip, header = 0, file.readline(1 << 20).removeprefix(codecs.BOM_UTF8)
        while header.startswith(b"#"):
            skip, header = skip + 1, file.readline(1 << 20)
        text = header.decode().strip("\r\n")
    delimiter = max(",;\t", key=text.count)
    columns = [column.strip().strip('"') for column in text.split(delimiter)]
    if len(set(columns)) < len(columns) or not all(columns):
        raise ValueError("two columns have the same name, or one has none")
    with opened() as file:
        reader = pyarrow.csv.open_csv(
            file,
            pyarrow.csv.ReadOptions(skip_rows=skip + 1, column_names=columns, block_size=1 << 20),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=True,
            ),
        )
        for batch in reader:
            cells = [pc.utf8_trim_whitespace(column) for column in batch.columns]
            cells = [pc.if_else(pc.is_in(column, pa.array(EMPTY)), None, column) for column in cells]
            yield pa.RecordBatch.from_arrays(cells, names=columns)


def _astropy(path: Path) -> Iterator[pa.RecordBatch]:
    """An ECSV file or a VOTable, read by astropy; XML with entities is refused."""
    from astropy.table import Column, Table

    if path.stat().st_size > LARGEST_TEXT:
        raise ValueError(
            f"it has more than {LARGEST_TEXT >> 20} MiB; convert it to Parquet or CSV, which are read in parts"
        )
    ecsv = path.suffix.lower() == ".ecsv"
    text = path.read_bytes()
    if not text[:100].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"# %ECSV" if ecsv else b"<"):
        raise ValueError(f"it does not begin like {'ECSV' if ecsv else 'XML'}")
    if not ecsv and ELSEWHERE.search(text):
        raise ValueError("a VOTable with entities, a document type or data in other files is not read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = Table.read(path, format="ascii.ecsv" if ecsv else "votable")
            if not ecsv:
                table.convert_bytestring_to_unicode()
    except Exception as error:  # astropy raises many kinds of errors on a torn file
        raise ValueError(str(error) or type(error).__name__) from None
    arrays, fields = [], []
    for name, column in table.columns.items():
        if isinstance(column, Column) and column.ndim == 1:
            arrays.append(pa.array(column.tolist(), pa.uint64() if column.dtype.kind == "u" else None))
            fields.append(pa.field(name, arrays[-1].type, metadata={UNIT: str(column.unit or "")}))
    yield from pa.Table.from_arrays(arrays, schema=pa.schema(fields)).to_batches(10_000)


def plain(kind: pa.DataType) -> pa.DataType | None:
    """The type with which a column is kept; None if it is not kept."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return kind
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.float64() if pa.types.is_floating(kind) else None
