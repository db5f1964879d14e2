"""A table of a user in memory, column by column: texts where the file is text, else values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.sources.dropped_columns import dropped_of
from skythaw.data.sources.rounded_ids import EXACT
from skythaw.data.sources.sky_positions import split_name
from skythaw.data.sources.text_tables import MOST_ROWS, read_text_table
from skythaw.data.sources.user_tables import TEXT_FORMAT, UNIT, UNREADABLE, ZERO_LED, batches_of, plain, table_format
from skythaw.errors import DataError
from skythaw.machine.machine_fault import raise_if_memory_is_short

WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True)
class Sheet:
    """A table in memory."""

    path: Path
    header: list[str]
    columns: Sequence[Sequence[Any]]
    """texts of a text table; else values, with None where there is none"""
    types: Sequence[pa.DataType | None]
    """None for a text table"""
    units: Sequence[str]
    note: str = ""
    separator: str = ","
    dropped: Mapping[str, str] = field(default_factory=dict)
    """columns that are not kept -> their types"""

    def texts(self, number: int) -> tuple[str, ...]:
        """A column as text: empty where there is no value, and whole numbers without a decimal point."""
        if self.types[number] is None:
            return tuple(self.columns[number])
        return tuple(_text(value) for value in self.columns[number])

    def typed(self, number: int) -> tuple[pa.DataType, tuple[Any, ...]]:
        """Type and values of a column; None where there is no value."""
        kind = self.types[number]
        if kind is None:
            return _typed(self.header[number], self.columns[number], self.separator)
        return kind, tuple(None if _is_nan(value) else value for value in self.columns[number])


def open_sheet(path: Path) -> Sheet:
    """Read a table as its content says; raises `DataError` where it can't be."""
    try:
        kind = table_format(path)
        if kind != TEXT_FORMAT:
            return _sheet(path, list(_bounded(path)))
    except DataError:
        raise
    except UNREADABLE as error:
        raise_if_memory_is_short(error)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"can't read the labels {path}: {reason}") from None
    table = read_text_table(path)
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.header)
    units = [split_name(name)[1] for name in table.header]
    note = "" if table.encoding == "UTF-8" else f"{path} was read as text in {table.encoding}"
    return Sheet(path, table.header, columns, [None] * len(columns), units, note, table.separator)


def _bounded(path: Path) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches_of(path, set()):
        rows += batch.num_rows
        if rows > MOST_ROWS:
            raise ValueError(f"it has more than {MOST_ROWS} rows, which are too many for a table of labels")
        yield batch


def _sheet(path: Path, batches: Sequence[pa.RecordBatch]) -> Sheet:
    if not batches:
        raise DataError(f"{path} has no rows")
    table = pa.Table.from_batches(batches)
    header = [name.strip() for name in table.column_names]
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(f"{path} has two columns called {twice[0]!r}")
    units = [((one.metadata or {}).get(UNIT) or b"").decode() or split_name(one.name)[1] for one in table.schema]
    types = [plain(one.type) for one in table.schema]
    columns = [column.to_pylist() for column in table.columns]
    return Sheet(path, header, columns, types, units, dropped=dropped_of(table.schema))


def _text(value: Any) -> str:
    if value is None or _is_nan(value):
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _typed(name: str, values: Sequence[str], separator: str = ",") -> tuple[pa.DataType, tuple[Any, ...]]:
    """Type and values of a column: whole numbers, numbers, or text; an empty cell is null, an id stays text."""
    given = [value for value in values if value]
    decimals = [value for value in given if COMMA.fullmatch(value)]
    if separator != "," and decimals and all(COMMA.fullmatch(value) or WHOLE.fullmatch(value) for value in given):
        values = [value.replace(",", ".") for value in values]
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
