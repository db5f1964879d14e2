"""Filling what the plan keeps: one pass over the images yields the activations at every kept cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skythaw.backbones.cut import prefixes
from skythaw.backbones.fold_batchnorm import fold
from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.data.cutouts import read_cutouts
from skythaw.data.pixel_store import open_store
from skythaw.machine.device import find_device
from skythaw.machine.numerics import numerics
from skythaw.spec import Cell
from skythaw.tuning.frozen.activation_cache import ActivationKey, precision_of
from skythaw.tuning.frozen.activation_files import Activations, Shapes, Writer, as_kept, create, find
from skythaw.tuning.frozen.crossing import slices
from skythaw.tuning.frozen.reuse_plan import Demand, ObjectSets, Reuse
from skythaw.tuning.labelled_images import make_images
from skythaw.tuning.locations import Locations
from skythaw.tuning.thawed_network import pool

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
        device = find_device(self.locations.device).type
        places = [
            ActivationKey(self.cell, d, precision_of(self.cell, self.part, d), self.sha256, device) for d in self.depths
        ]
        return [place.folder(self.locations.cache) for place in places]


def fill(task: Fill) -> int:
    """Compute what is not there yet, and keep it; how many images that were.

    Raises
    ------
    OSError
        The cache folder can't be written, or the disk is full: what was kept until then is of use.
    """
    cell, locations = task.cell, task.locations
    with numerics(cell.recipe.threads, 0, locations.device) as device:
        cutouts = read_cutouts(locations.test if task.part == "test" and locations.test else locations.data)
        there = [find(folder, len(cutouts)) for folder in task.folders()]
        if all(kept and not kept.absent(task.views, task.rows).any() for kept in there):
            return 0
        store = open_store(cutouts, locations.cache, skip_broken=cell.skip_broken)
        images = make_images(cell, store, np.arange(len(cutouts)), np.zeros(len(cutouts), np.int64), device)
        network = build(backbone_of(cell), locations.weights).requires_grad_(False)
        fold(network.features)
        network = network.to(device).to(memory_format=torch.channels_last)
        taps = prefixes(network, task.depths)

        def activations(views: np.ndarray, rows: np.ndarray) -> list[tuple[Tensor, ...]]:
            with torch.inference_mode():
                values = taps(images.batch(rows, views))
            return [(pool(*v),) if depth == 0 else v for depth, v in zip(task.depths, values, strict=True)]

        sample = activations(task.views[:1], task.rows[:1])
        kept = [
            create(folder, len(cutouts), _shapes(value), getattr(torch, precision_of(cell, task.part, depth)))
            for folder, depth, value in zip(task.folders(), task.depths, sample, strict=True)
        ]
        missing = np.logical_or.reduce([each.absent(task.views, task.rows) for each in kept])
        _write(kept, task.views[missing], task.rows[missing], activations)
        return int(missing.sum())


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


def _write(
    kept: list[Activations],
    views: np.ndarray,
    rows: np.ndarray,
    activations: Callable[[np.ndarray, np.ndarray], list[tuple[Tensor, ...]]],
) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(Writer(each)) for each in kept]
        for places, count in slices(len(rows)):
            values = activations(views[places], rows[places])
            for writer, value in zip(writers, values, strict=True):
                writer.put(views[places[:count]], rows[places[:count]], tuple(v[:count] for v in value))
        for writer in writers:
            writer.commit()


def _shapes(values: tuple[Tensor, ...]) -> Shapes:
    return tuple(tuple(as_kept(value).shape[1:]) for value in values)
