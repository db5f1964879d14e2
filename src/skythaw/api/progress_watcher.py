"""A watcher of a study that draws a progress bar, for commands, scripts and notebooks alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from skythaw.study.open_study import Watcher

if TYPE_CHECKING:
    from skythaw.study.plan import Plan, PlannedCell

NAMES = {"cell": "cells", "trial": "trials", "rate": "trials of learning rates", "both": "cells of both"}


class BarWatcher(Watcher):
    """Draws on a bar of `skythaw.api.progress_bar.progress_bar`."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.task: Any = None
        self.fill: Any = None

    def step(self, text: str) -> None:
        """What is begun now; bars of a step that ended before its time go."""
        self.filling(0)
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None
        self.noted(text)

    def decoding(self, images: Iterable[Any], total: int) -> Iterable[Any]:
        return self._over(images, "decoding", total, f"{total} images")

    def measuring(self, cells: Iterable[Any], total: int) -> Iterable[Any]:
        return self._over(cells, "numbers", total, f"{total} cells without a network")

    def noted(self, text: str) -> None:
        self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warned(self, text: str) -> None:
        self.noted(f"warning: {text}")

    def filling(self, images: int) -> None:
        if self.fill is not None:
            self.bar.remove_task(self.fill)
        self.fill = self.bar.add_task("frozen part", total=images, count=f"{images} images") if images else None

    def filled(self, images: int) -> None:
        self.bar.advance(self.fill, images)

    def started(self, plan: Plan, done: set[str], what: str) -> None:
        self.what = NAMES[what]
        self.cells, self.over = len(plan.cells), len(done)
        cost = sum(p.cost for p in plan.cells)
        before = sum(p.cost for p in plan.cells if p.cell.key in done)
        if self.task is not None:  # of the round before
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task("study", total=cost, completed=before, begun=before, count=self._count())

    def finished(self, planned: PlannedCell, error: str | None) -> None:
        self.over += 1
        self.bar.update(self.task, advance=planned.cost, count=self._count())
        if error is not None:
            cell = planned.cell
            last = error.strip().splitlines()[-1]
            self.warned(f"failed: {cell.network}, depth {cell.depth}, seed {cell.seed}: {last}")

    def _over(self, things: Iterable[Any], name: str, total: int, count: str) -> Iterable[Any]:
        task = self.bar.add_task(name, total=total, count=count)
        try:
            for thing in things:
                yield thing
                self.bar.advance(task)
        finally:
            self.bar.remove_task(task)

    def _count(self) -> str:
        return f"{self.over} of {self.cells} {self.what}"


def watcher_of(bar: Any) -> BarWatcher:
    """A watcher that draws on a progress bar."""
    return BarWatcher(bar)
