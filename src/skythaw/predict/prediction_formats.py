"""The formats of predictions: a file in Parquet, CSV or ECSV, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from skythaw.data.parquet import parquet_writer
from skythaw.errors import OutputError, SpecError
from skythaw.machine.files import replacing, require_text, writing

PARQUET = ".parquet"
FORMULA = r"^([=+\-@\t\r])"
"""the beginning of a cell that a spreadsheet would run"""


def check_output(out: Path, *, lists: bool = False) -> None:
    """Raise `SpecError` or `OutputError` unless predictions, or with `lists` features, can be written by this name."""
    require_text(out)
    if lists and out.suffix.lower() != PARQUET:
        raise SpecError(f"features are lists of numbers, which need Parquet: the output {out} should end in {PARQUET}")
    if out.suffix.lower() not in _FORMS:
        raise SpecError(f"the output {out} should end in {', '.join(_FORMS)}, not {out.suffix!r}")
    if out.is_dir():
        raise OutputError(f"can't write {out}: it is a folder")


def write_table(out: Path, schema: pa.Schema, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> None:
    """Write predictions in the format that the file's ending names; the file appears whole or not at all.

    Parameters
    ----------
    out
        the file
    schema
        of each of the tables
    tables
        some rows each
    about
        where they come from: this is the `meta` of ECSV; the schema of Parquet has it already, CSV has no place for it
    """
    with replacing(out) as file:
        _FORMS[out.suffix.lower()](file, out, schema, tables, about)


def _parquet(
    file: BinaryIO, out: Path, schema: pa.Schema, tables: Iterable[pa.Table], about: Mapping[str, Any]
) -> None:
    with parquet_writer(file, schema, out) as write:
        for table in tables:
            write(table)


def _csv(file: BinaryIO, out: Path, schema: pa.Schema, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> None:
    _rows(file, out, schema, map(_unformulated, tables), header=True)


def _unformulated(table: pa.Table) -> pa.Table:
    """The table with an apostrophe before what a spreadsheet would take for a formula, in columns of text."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(number, field, pc.replace_substring_regex(table[field.name], FORMULA, r"'\1"))
    return table


def _ecsv(file: BinaryIO, out: Path, schema: pa.Schema, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> None:
    """Astropy's ECSV (APE 6): astropy writes the header, and Arrow the rows, in bounded memory.

    A masked value is an empty cell.
    """
    from astropy.table import Table

    kinds = {field.name: str if pa.types.is_string(field.type) else np.float32 for field in schema}
    header = io.StringIO()
    empty = Table({name: np.zeros(0, kind) for name, kind in kinds.items()}, meta=dict(about))
    empty.write(header, format="ascii.ecsv", delimiter=",")
    with writing(out):
        file.write(header.getvalue().encode())
    _rows(file, out, schema, tables, header=False)


def _rows(file: BinaryIO, out: Path, schema: pa.Schema, tables: Iterable[pa.Table], *, header: bool) -> None:
    """Values between commas, a line for each row; a null is an empty cell."""
    options = pyarrow.csv.WriteOptions(include_header=header, quoting_style="needed")
    with writing(out), pyarrow.csv.CSVWriter(file, schema, write_options=options) as writer:
        for table in tables:
            writer.write_table(table)


_FORMS: dict[str, Callable[[BinaryIO, Path, pa.Schema, Iterable[pa.Table], Mapping[str, Any]], None]] = {
    PARQUET: _parquet,
    ".csv": _csv,
    ".ecsv": _ecsv,
}
