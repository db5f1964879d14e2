"""What is to be filled: tasks for workers, which pass images through a frozen prefix. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from skythaw.machine.device import device_model
from skythaw.spec import Cell
from skythaw.tuning.frozen.activation_cache import ActivationKey, precision_of
from skythaw.tuning.frozen.reuse_plan import Demand, ObjectSets, Reuse
from skythaw.tuning.locations import Locations

CHUNK = 1024
"""images of one task"""


@dataclass(frozen=True)
class Fill:
    """Some images, each in a view, to be passed through one network."""

    cell: Cell
    """any of those that share the network"""
    locations: Locations
    depths: tuple[int, ...]
    part: str
    """``train``, ``score`` or ``test``: see `skythaw.tuning.frozen.reuse_plan.Demand`"""
    views: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    """of the data set's objects"""

    @property
    def sha256(self) -> str:
        """Of the data set."""
        return self.cell.test_sha256 if self.part == "test" and self.cell.test_sha256 else self.cell.data_sha256

    def folders(self) -> list[Path]:
        """Where the activations of each depth go."""
        device = device_model(self.locations.device)
        places = [
            ActivationKey(self.cell, d, precision_of(self.cell, self.part, d), self.sha256, device) for d in self.depths
        ]
        return [place.folder(self.locations.cache) for place in places]


def fills(locations: Locations, reuse: Reuse) -> Iterator[Fill]:
    """The tasks that fill what is kept for one group of cells."""
    for part in ("train", "score", "test") if reuse.kept else ():
        views, rows = np.nonzero(getattr(reuse.demand, part))
        for start in range(0, len(rows), CHUNK):
            some = slice(start, start + CHUNK)
            yield Fill(reuse.uses[0].cell, locations, reuse.kept, part, views[some], rows[some])


def own_fills(locations: Locations, reuse: Reuse, cell: Cell, depth: int, sets: ObjectSets) -> tuple[Fill, ...]:
    """The tasks that fill what one cell, cut at a depth, finds kept; none where the plan keeps nothing for it."""
    if depth not in reuse.kept:
        return ()
    own = tuple(use for use in reuse.uses if use.depth == depth)
    return tuple(fills(locations, Reuse(own, Demand(sets.trained([cell]), sets.score, sets.test))))
