"""What an engine hands to its workers. Imports no torch: the process that hands tasks out does without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from skythaw.spec import Cell
from skythaw.tuning.frozen.fill_task import Fill
from skythaw.tuning.locations import Locations


@dataclass(frozen=True)
class CellTask:
    """A cell to be run, and where everything is that it needs."""

    cell: Cell
    locations: Locations
    trial: bool = False
    """Score validation alone, and keep no weights: the cell only serves to choose others.

    What chooses must not see the test set.
    """
    first: tuple[Fill, ...] = field(default=(), repr=False)
    """On a cluster: what is kept of the frozen part (`Fill`s) at the cell's node before it runs."""


def do_task(task: CellTask | Fill) -> Any:
    """Run a cell, or fill what is kept of a frozen part, as `run_cell` and `fill` do; imported where it is done."""
    if isinstance(task, Fill):
        from skythaw.tuning.frozen.fill_cache import fill

        return fill(task)
    from skythaw.study.run_cell import run_cell

    return run_cell(task)
