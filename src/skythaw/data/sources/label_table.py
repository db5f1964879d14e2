"""Read a table of labels (CSV) that goes with image files.

Every cell is read as text, by the standard library: astropy's `Table.read` would turn ids into numbers, and names no
line where a table is broken.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.errors import DataError

ID_NAMES = ("object_id", "objid", "id", "name")
FILE_NAMES = ("file", "filename", "path", "image", "image_path")
LABEL_NAMES = ("label", "class")

RUINED = re.compile(r"\d+\.\d+[eE][+-]?\d+|\d+[eE]\+\d+")
WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
ZERO_LED = re.compile(r"[+-]?0\d+")


@dataclass(frozen=True)
class LabelTable:
    """The rows of a table of labels, in the order of the file."""

    ids: tuple[str, ...] | None
    """object ids, where there is a column of them"""
    files: tuple[str, ...]
    """what names the image: a path, a file's name, or the id"""
    labels: tuple[str | None, ...]
    columns: tuple[tuple[str, pa.DataType], ...]
    """names and types of the other columns"""
    values: tuple[tuple[Any, ...], ...]
    """for each of `columns`, its values"""


def read_labels(path: Path) -> LabelTable:
    """Read a CSV file with a header. Columns are found by name. Ids stay text, other columns may become numbers.

    Leading lines that begin with ``#`` (as SkyServer writes) are skipped. Commas, semicolons or tabs separate cells.

    Raises
    ------
    DataError
        It is no CSV file, has no column for the image or the label, or has ids that a spreadsheet rounded (1.24E+18).
    """
    header, rows = read_rows(path)
    id_at, file_at, label_at = (column_of(header, names) for names in (ID_NAMES, FILE_NAMES, LABEL_NAMES))
    names_at = id_at if file_at is None else file_at
    if names_at is None or label_at is None:
        what = "label" if label_at is None else "image"
        wanted = LABEL_NAMES if label_at is None else (*ID_NAMES, *FILE_NAMES)
        raise DataError(
            f"{path} has no column for the {what}; it should be called {', '.join(wanted[:-1])} or {wanted[-1]}; the "
            f"columns are {', '.join(header)}"
        )
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    if id_at is not None:
        refuse_ruined(path, header[id_at], columns[id_at])
    used = {column_of(header, [name]) for name in FILE_NAMES} | {id_at, label_at}
    others = {name: number for number, name in enumerate(header) if name and number not in used}
    typed = [_typed(name, columns[number]) for name, number in others.items()]
    return LabelTable(
        ids=None if id_at is None else tuple(columns[id_at]),
        files=tuple(columns[names_at]),
        labels=tuple(label or None for label in columns[label_at]),
        columns=tuple((name, kind) for name, (kind, _) in zip(others, typed, strict=True)),
        values=tuple(values for _, values in typed),
    )


def column_of(header: Sequence[str], names: Sequence[str]) -> int | None:
    """The number of the column that has one of these names, in upper or lower case; the earlier name is taken first."""
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in names if name in lower), None)


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, as text without surrounding blanks; empty lines are left out."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines(keepends=True)
    except OSError as error:
        raise DataError(f"can't read the labels {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"the labels {path} are not text in UTF-8: {error.reason} at byte {error.start}") from None
    skip = next((count for count, line in enumerate(lines) if not line.startswith("#")), len(lines))
    first = lines[skip] if skip < len(lines) else ""
    reader = csv.reader(lines[skip:], delimiter=max(",;\t", key=first.count), strict=True)
    try:
        rows = [(reader.line_num + skip, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num + skip}: {error}") from None
    if not rows:
        raise DataError(f"the labels {path} are empty; the first line should name the columns, such as file,label")
    header = rows[0][1]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise DataError(f"{path} has two columns called {twice[0]!r}")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(f"{path}, line {line}: {len(row)} values for {len(header)} columns")
    return header, [row for _, row in rows[1:]]


def refuse_ruined(path: Path | str, name: str, ids: Sequence[str]) -> None:
    """Raise `DataError` for ids that a spreadsheet has rounded."""
    if ruined := next((each for each in ids if RUINED.fullmatch(each)), None):
        raise DataError(
            f"{path}: column {name!r} holds {ruined}: a spreadsheet rounded the ids, and digits are lost; take the "
            "table again from where it came, and keep this column as text"
        )


def _typed(name: str, values: Sequence[str]) -> tuple[pa.DataType, tuple[Any, ...]]:
    """Type and values of a column: whole numbers, numbers, or text; an empty cell is null, an id stays text."""
    given = [value for value in values if value]
    if given and not name.lower().endswith("id"):
        if all(WHOLE.fullmatch(value) for value in given):
            return pa.int64(), tuple(int(value) if value else None for value in values)
        try:
            if not any(ZERO_LED.fullmatch(value) or "_" in value for value in given):
                return pa.float64(), tuple(float(value) if value else None for value in values)
        except ValueError:
            pass
    return pa.string(), tuple(value or None for value in values)
