"""Filling what the plan keeps: one pass over the images yields the activations at every kept cut."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from skythaw.backbones.cut import prefixes
from skythaw.backbones.fold_batchnorm import fold
from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.data.cutouts import read_cutouts
from skythaw.data.pixel_store import open_store
from skythaw.machine.numerics import numerics
from skythaw.tuning.frozen.activation_cache import precision_of
from skythaw.tuning.frozen.activation_files import Activations, Shapes, Writer, as_kept, create, find
from skythaw.tuning.frozen.crossing import slices
from skythaw.tuning.frozen.fill_task import Fill
from skythaw.tuning.labelled_images import make_images
from skythaw.tuning.thawed_network import pool


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
        if all(kept and not kept.absent(task.views, task.rows, verify=False).any() for kept in there):
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
        missing = np.logical_or.reduce([each.absent(task.views, task.rows, verify=False) for each in kept])
        _write(kept, task.views[missing], task.rows[missing], activations)
        return int(missing.sum())


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
