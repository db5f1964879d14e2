"""A table on a terminal: as many of its columns as fit, or all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from skythaw.cli.terminal import NARROW, say_wrapped

if TYPE_CHECKING:
    from rich.table import Table

Wide = Annotated[bool, typer.Option("--wide", help="Tables with all their columns, however wide that makes them.")]


@dataclass
class TerminalTable:
    """A table with a title, a head and rows of text."""

    title: str | None
    columns: tuple[str, ...]
    text_columns: int = 1
    """the first columns hold words, which may be broken into lines; the others hold numbers"""
    spare: tuple[str, ...] = ()
    """columns that are left out where the table is too wide, the first of these first"""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    bold: set[int] = field(default_factory=set)
    """which rows stand out"""

    def add(self, *values: str, bold: bool = False) -> None:
        """Add a row: a value for each column."""
        if bold:
            self.bold.add(len(self.rows))
        self.rows.append(values)


def print_table(table: TerminalTable, *, wide: bool = False) -> list[str]:
    """Print a table, its title on a line above it, and say which columns were left out.

    Parameters
    ----------
    table
        what to print
    wide
        leave out nothing, and break no line
    """
    from rich.console import Console

    if table.title:
        say_wrapped(table.title)
    width = None if sys.stdout.isatty() else NARROW
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    left_out: list[str] = []
    drawn = _drawn(table, left_out)
    if wide:
        console.width = max(console.width, console.measure(drawn, options=console.options.update(width=9999)).maximum)
    for name in () if wide else table.spare:
        if console.measure(drawn, options=console.options.update(width=9999)).maximum <= console.width:
            break
        left_out.append(name)
        drawn = _drawn(table, left_out)
    console.print(drawn)
    return left_out


def say_left_out(names: Sequence[str]) -> None:
    """Say which columns the tables above would have with `--wide`."""
    if names:
        say_wrapped(f"With --wide, tables also have: {', '.join(dict.fromkeys(names))}.")


def _drawn(table: TerminalTable, left_out: Sequence[str]) -> Table:
    """The table as rich draws it, without some columns."""
    from rich import box
    from rich.table import Table

    kept = [i for i, name in enumerate(table.columns) if name not in left_out]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i in kept:
        words = i < table.text_columns
        drawn.add_column(
            table.columns[i],
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold" if words else "ellipsis",
        )
    for number, row in enumerate(table.rows):
        drawn.add_row(*(row[i] for i in kept), style="bold" if number in table.bold else None)
    return drawn
