"""Functions that are told of a run: `on_cell` of each cell that ends, `on_epoch` of each time a cell was scored.

Ready ones for TensorBoard, MLflow and Trackio are in `skythaw.api.trackers`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skythaw.api.progress_watcher import BarWatcher
from skythaw.spec import Cell

if TYPE_CHECKING:
    from skythaw.study.cell_result import Result
    from skythaw.study.plan import Plan, PlannedCell


@dataclass(frozen=True)
class CellEvent:
    """A cell has ended."""

    cell: Cell
    result: Result | None
    """None where it failed"""
    error: str | None
    """the traceback, where it failed"""
    done: int
    """cells that have ended so far"""
    cells: int
    """in all"""
    trial: bool = False
    """whether it is a trial of a learning rate or of a search, which is short and is not scored on test"""

    @property
    def name(self) -> str:
        """What the cell is called: network, depth, images and seed."""
        return name_of(self.cell)

    @property
    def part(self) -> str:
        """What `scores` are of: ``test``, or ``validation`` where it was not scored on test."""
        return "test" if self.result is not None and self.result.scores.get("test") else "validation"

    @property
    def scores(self) -> dict[str, float]:
        """``macro_f1``, ``accuracy`` and ``log_loss`` on `part`; none where it failed."""
        if self.result is None:
            return {}
        found = self.result.scores[self.part]
        return {name: found[name] for name in ("macro_f1", "accuracy", "log_loss")}

    def __repr__(self) -> str:
        what = f"{self.name}{', a trial' if self.trial else ''}"
        how = f"{_said(self.scores)} on {self.part}" if self.result else "failed"
        return f"CellEvent {self.done} of {self.cells}: {what}: {how}"


@dataclass(frozen=True)
class EpochEvent:
    """A cell was scored on validation while it trained."""

    cell: Cell
    epoch: float
    scores: dict[str, float]
    """``train_loss``, ``train_accuracy``, ``macro_f1``, ``accuracy``, ``log_loss``: those that are known"""

    @property
    def name(self) -> str:
        """What the cell is called: network, depth, images and seed."""
        return name_of(self.cell)

    def __repr__(self) -> str:
        return f"EpochEvent {self.name}, epoch {self.epoch:g}: {_said(self.scores)}"


OnCell = Callable[[CellEvent], Any]
OnEpoch = Callable[[EpochEvent], Any]


def name_of(cell: Cell) -> str:
    """What a cell is called: network, depth, images and seed."""
    return f"{cell.network} depth {cell.depth}, {cell.train_size} images, seed {cell.seed}"


def _said(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items())


class TellingWatcher(BarWatcher):
    """Draws on a bar, and tells the functions of the caller of each cell.

    Epochs are told while a cell trains, where the engine can tell, else when it has ended: all of them once, in order.
    """

    def __init__(self, bar: Any, on_cell: OnCell | None, on_epoch: OnEpoch | None) -> None:
        super().__init__(bar)
        self.on_cell, self.on_epoch = on_cell, on_epoch
        self.wants_epochs = on_epoch is not None
        self._told: dict[str, int] = {}
        self._trial = False

    def started(self, plan: Plan, done: set[str], what: str) -> None:
        self._trial = what in ("trial", "rate")
        super().started(plan, done, what)

    def epoch(self, planned: PlannedCell, number: int, point: Mapping[str, float]) -> None:
        if self.on_epoch is not None and number >= self._told.get(planned.cell.key, 0):
            self._told[planned.cell.key] = number + 1
            self.on_epoch(EpochEvent(planned.cell, float(point["epoch"]), _numbers(point)))

    def scored(self, planned: PlannedCell, result: Result) -> None:
        for number, point in enumerate(result.curves):
            self.epoch(planned, number, point)
        self._tell(planned.cell, result, None)

    def finished(self, planned: PlannedCell, error: str | None) -> None:
        self._told.pop(planned.cell.key, None)
        if error is not None:
            self._tell(planned.cell, None, error)
        super().finished(planned, error)

    def _tell(self, cell: Cell, result: Result | None, error: str | None) -> None:
        if self.on_cell is not None:
            trial = self._trial and not (result and result.scores.get("test"))  # else it is a cell of the study, too
            self.on_cell(CellEvent(cell, result, error, self.over + 1, self.cells, trial))


def _numbers(point: Mapping[str, Any]) -> dict[str, float]:
    names = ("train_loss", "train_accuracy", "macro_f1", "accuracy", "log_loss")
    return {name: float(point[name]) for name in names if point.get(name) is not None}
