"""How fast this machine is, from the cells it has run: what a plan reckons with. No torch."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from skythaw.errors import OutputError
from skythaw.machine.files import replacing
from skythaw.machine.processor import processor
from skythaw.spec import Cell

USUAL = 4e10
"""FLOPs a second of one core in training, where nothing was measured yet: docs/performance.md"""
LEAST = 2e11
"""FLOPs, together, from which on cells tell a rate: the time of smaller ones goes into other things"""
SLOWER = 0.5
"""A run may make the rate smaller by this factor at most: others may have used the machine for a while."""


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
        with suppress(OSError, ValueError, AttributeError):
            self._rates = {str(name): float(rate) for name, rate in json.loads(self._file.read_text()).items()}

    def rate(self, cell: Cell) -> float:
        """FLOPs a second."""
        return self._rates.get(_kind(cell), USUAL)

    def measured(self, cell: Cell) -> bool:
        """Whether a cell of this kind was run on this machine."""
        return _kind(cell) in self._rates

    def remember(self, runs: Iterable[tuple[Cell, float, float]]) -> None:
        """Keep what was measured: cells, their FLOPs, their seconds. A cache that can't be written is no harm.

        Cells of a head alone count for nothing, nor do few small ones.
        """
        totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for cell, flops, seconds in runs:
            if cell.depth == 0:
                continue
            totals[_kind(cell)][0] += flops
            totals[_kind(cell)][1] += seconds
        for kind, (flops, seconds) in totals.items():
            if flops >= LEAST and seconds > 0:
                self._rates[kind] = max(flops / seconds, SLOWER * self._rates.get(kind, 0))
        with suppress(OSError, OutputError), replacing(self._file) as file:
            file.write(json.dumps(self._rates, indent=1, sort_keys=True).encode())


def _kind(cell: Cell) -> str:
    return f"{processor()}, {cell.backbone}, {cell.pixels.size} px, {cell.recipe.threads} threads"
