"""The bar of a budget, which shows the time that is left from the first second; and who keeps `tune` to the budget."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skythaw.api.callbacks import OnCell, OnEpoch, TellingWatcher
from skythaw.api.choose_study import ending_of
from skythaw.api.progress_bar import progress_bar
from skythaw.api.time_budget import TimeBudget, TimeIsUp
from skythaw.study.plan import PlannedCell

EVERY = 1.0
"""seconds from one look at the clock to the next"""


@contextmanager
def budget_bar(clock: TimeBudget, *, shown: bool) -> Iterator[Any]:
    """A bar that the clock moves; bars of what is done stand below it."""
    with progress_bar("cells", shown=shown) as bar:
        count = f"of {clock.seconds / 60:.3g} min"
        task = bar.add_task("budget", total=clock.seconds, begun=clock.used_before, count=count)
        over = threading.Event()

        def move() -> None:
            while not over.wait(EVERY):
                bar.update(task, completed=min(clock.seconds, clock.used))

        thread = threading.Thread(target=move, daemon=True)
        thread.start()
        try:
            yield bar
        finally:
            over.set()
            thread.join()


class BudgetWatcher(TellingWatcher):
    """Draws, tells, and raises `TimeIsUp` where a cell ends after the time that there is. A warning is told once.

    The alarm of `stopping_after` does that sooner, where there can be one.
    """

    def __init__(self, bar: Any, on_cell: OnCell | None, on_epoch: OnEpoch | None, clock: TimeBudget) -> None:
        super().__init__(bar, on_cell, on_epoch)
        self._clock = clock
        self._warned: set[str] = set()

    def warned(self, text: str) -> None:
        if text not in self._warned:
            super().warned(text)
        self._warned.add(text)

    def finished(self, planned: PlannedCell, error: str | None) -> None:
        super().finished(planned, error)
        if self._clock.left < ending_of(self._clock):
            raise TimeIsUp
