"""A table as text: as many digits as a reader can use, and all of them for a spreadsheet."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skythaw.report.figures.elements import Table, Value
from skythaw.report.number_format import DASH, say

LONG = 30
"""A table of more rows is folded away."""


@dataclass(frozen=True)
class TableCell:
    """What a table shows, and what is copied from it."""

    text: str
    exact: str
    number: bool


@dataclass(frozen=True)
class TextTable:
    """A table as text."""

    caption: str
    columns: tuple[tuple[str, bool], ...]
    """name, and whether it holds numbers"""
    rows: tuple[tuple[TableCell, ...], ...]

    @property
    def long(self) -> bool:
        """Whether it is too long to lie open."""
        return len(self.rows) > LONG


def text_table(table: Table) -> TextTable:
    """Write a table: each column by its own rule, whole numbers without decimals where all of it is whole."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    written = [_column(column) for column in columns]
    numeric = [any(cell.number for cell in column) and _numbers(column) for column in written]
    rows = tuple(zip(*written, strict=True))
    return TextTable(table.caption, tuple(zip(table.columns, numeric, strict=True)), rows)


def _column(values: tuple[Value, ...]) -> tuple[TableCell, ...]:
    whole = all(v == int(v) for v in values if isinstance(v, float) and math.isfinite(v))
    return tuple(TableCell(say(v, whole=whole), _exact(v), isinstance(v, float | int)) for v in values)


def _exact(value: Value) -> str:
    """The value for a spreadsheet: text that it would take for a formula gets an apostrophe before it."""
    if isinstance(value, str):
        text = " ".join(value.split())
        return f"'{text}" if text.startswith(("=", "+", "@")) else text
    if value is None or not math.isfinite(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def _numbers(column: tuple[TableCell, ...]) -> bool:
    return all(cell.number or cell.text == DASH for cell in column)
