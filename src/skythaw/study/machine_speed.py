"""How fast this machine is, from the cells it has run: what a plan reckons with. No torch."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from skythaw.errors import OutputError
from skythaw.machine.files import replacing
from skythaw.machine.processor import processor
from skythaw.spec import IMAGES, Cell

USUAL = 4e10
"""FLOPs a second of one core in training, where nothing was measured yet: docs/performance.md"""
LEAST = 2e11
"""FLOPs, together, from which on cells tell a rate: the time of smaller ones goes into other things"""
SHARE = "share of a core"
"""name of what cells got of their cores in the last run: less than all where other work ran beside them"""
LEAST_SHARE = 0.25
"""A plan reckons with at least this: others seldom take more for long."""
ENOUGH = 1.0
"""seconds, together, from which on cells tell that share"""


class MachineSpeed:
    """FLOPs a second of a cell, by network, size of images and threads.

    Parameters
    ----------
    cache
        the cache folder; what was measured is in its ``speed.json``, and on another processor counts for nothing
    """

    def __init__(self, cache: Path) -> None:
        self._file = cache / "speed.json"
        self._rates: dict[str, float] = {}
        with suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
            kept = {str(name): float(rate) for name, rate in json.loads(self._file.read_text()).items()}
            self._rates = {name: rate for name, rate in kept.items() if 0 < rate < math.inf}

    def rate(self, cell: Cell) -> float:
        """FLOPs a second, if other work leaves as much of a core as it left in the last run."""
        return self._rates.get(_kind(cell), USUAL) * self._rates.get(SHARE, 1.0)

    def measured(self, cell: Cell) -> bool:
        """Whether a cell of this kind was run on this machine."""
        return _kind(cell) in self._rates

    def remember(self, runs: Iterable[tuple[Cell, float, Mapping[str, float]]]) -> None:
        """Keep what was measured: cells, their FLOPs, their seconds. A cache that can't be written is no harm.

        What a core does in a second that it works is kept apart from how much it worked: busy hours are over some day.
        Cells of a head alone count nothing for the first, nor do few small ones, nor cells of both images and numbers:
        these begin with what another cell has trained, and their FLOPs are the most that they may take.

        Parameters
        ----------
        runs
            cell, FLOPs, and seconds as `skythaw.machine.usage.Stopwatch` gives them
        """
        totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        worked = waited = 0.0
        for cell, flops, seconds in runs:
            whole = seconds["total"]
            busy = min(whole, seconds.get("processor", whole) / cell.recipe.threads)
            worked, waited = worked + busy, waited + whole
            if cell.depth > 0 and cell.inputs == IMAGES:
                totals[_kind(cell)][0] += flops
                totals[_kind(cell)][1] += busy
        for kind, (flops, busy) in totals.items():
            if flops >= LEAST and busy > 0:
                self._rates[kind] = flops / busy
        if waited >= ENOUGH:
            self._rates[SHARE] = max(worked / waited, LEAST_SHARE)
        with suppress(OSError, OutputError), replacing(self._file) as file:
            file.write(json.dumps(self._rates, indent=1, sort_keys=True).encode())


def _kind(cell: Cell) -> str:
    return f"{processor()}, {cell.backbone}, {cell.pixels.size} px, {cell.recipe.threads} threads"
