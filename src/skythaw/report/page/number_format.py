"""How a number is written in a table: as many digits as a reader can use, and all of them for a spreadsheet."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skythaw.report.figures.elements import Table, Value

NOTHING = "\u2013"
LONG = 30
"""A table of more rows is folded away."""


@dataclass(frozen=True)
class TableCell:
    """What a table shows, and what is copied from it."""

    text: str
    exact: str
    number: bool


@dataclass(frozen=True)
class Sheet:
    """A table as text."""

    caption: str
    columns: tuple[tuple[str, bool], ...]
    """name, and whether it holds numbers"""
    rows: tuple[tuple[TableCell, ...], ...]

    @property
    def long(self) -> bool:
        """Whether it is too long to lie open."""
        return len(self.rows) > LONG


def sheet(table: Table) -> Sheet:
    """Write a table: each column by its own rule, whole numbers without decimals where all of it is whole."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    written = [_column(column) for column in columns]
    numeric = [any(cell.number for cell in column) and _numbers(column) for column in written]
    rows = tuple(zip(*written, strict=True))
    return Sheet(table.caption, tuple(zip(table.columns, numeric, strict=True)), rows)


def say(value: Value, *, whole: bool = False) -> str:
    """Write one value for a reader.

    Parameters
    ----------
    value
        a float has three decimals below 10, three digits below 0.01, fewer decimals above; None and NaN are a dash
    whole
        write a float as a whole number
    """
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "\u2212∞" if value < 0 else "∞"
    if isinstance(value, int) or (whole and value == int(value)):
        return _minus(f"{int(value):,}" if abs(value) >= 10_000 else str(int(value)))
    return _minus(_decimal(value))


def _decimal(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.01 or size >= 1e15:
        return f"{value:.3g}"
    decimals = 3 if size < 10 else 1 if size < 1000 else 0
    return f"{value:.{decimals}f}" if size < 10_000 else f"{value:,.0f}"


def _minus(text: str) -> str:
    return text.replace("-", "\u2212") if "e" not in text else text


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
    return all(cell.number or cell.text == NOTHING for cell in column)
