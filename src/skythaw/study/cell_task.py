"""What an engine's workers do, and with what. The process that hands the tasks out needs no torch for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skythaw.spec import Cell
from skythaw.study.cell_result import Result
from skythaw.study.rate_trials import SettledRate
from skythaw.tuning.frozen.fill_task import Fill
from skythaw.tuning.locations import Locations


@dataclass(frozen=True)
class Beside:
    """What a cell of both starts from: a finished cell on images alone, and one on the numbers alone."""

    result: Result
    """of the cell on images"""
    images: dict[str, np.ndarray]
    """by part: its log-probabilities"""
    table: dict[str, np.ndarray]
    """by part: those of the cell on numbers; of the training objects out of fold"""
    keys: dict[str, str]
    """of the two cells: ``images``, ``table``"""
    known: dict[str, np.ndarray] = field(default_factory=dict)
    """by part: which objects have numbers, bool [object]; empty where all have"""


@dataclass(frozen=True)
class CellTask:
    """A cell to be run, and where everything is that it needs."""

    cell: Cell
    locations: Locations
    rate: SettledRate
    """its learning rate, given or chosen by trials"""
    trial: bool = False
    """Score validation alone, and keep no weights: the cell only serves to choose others.

    What chooses must not see the test set.
    """
    first: tuple[Fill, ...] = field(default=(), repr=False)
    """On a cluster: what is kept of the frozen part (`Fill`s) at the cell's node before it runs."""
    beside: Beside | None = field(default=None, repr=False)
    """of a cell of both: what it starts from"""
    epochs: Path | None = None
    """the folder in which its epochs are written down while it trains; None: nobody wants to know"""


def run_cell(task: CellTask) -> Result:
    """`skythaw.study.run_cell.run_cell`, or that of a cell of both, imported where it is called: in a worker."""
    if task.beside is not None:
        from skythaw.study.both_cell import run_both

        return run_both(task)
    from skythaw.study import run_cell as module

    return module.run_cell(task)


def fill(task: Fill) -> int:
    """`skythaw.tuning.frozen.fill_cache.fill`, imported where it is called: in a worker."""
    from skythaw.tuning.frozen import fill_cache

    return fill_cache.fill(task)
