"""Train a finished cell again on its training and validation images together, for `skythaw export --refit`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import Weights
from skythaw.errors import DataError
from skythaw.machine.numerics import numerics
from skythaw.spec import Cell
from skythaw.study.cell_result import Result
from skythaw.study.cell_sets import CellSets, load_sets, with_activations
from skythaw.study.train_as_before import Steps, train_as_before
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.locations import Locations
from skythaw.tuning.scores import quick_scores
from skythaw.tuning.thawed_network import assemble
from skythaw.tuning.training_loop import predict

BROKEN = 0.1
"""Macro-F1 on its own images by which a training is below the cell's on validation if something went wrong."""


@dataclass(frozen=True)
class Refit:
    """How a cell is trained again on this machine."""

    cache: Path
    """folder for caches"""
    device: str = "auto"
    progress: Steps = lambda steps, number: steps
    """called with the steps and their number"""


@dataclass(frozen=True)
class Refitted:
    """The result of training again."""

    trained: dict[str, Tensor]
    """as `skythaw.tuning.thawed_network.ThawedNetwork.trained` names it"""
    images: int
    """number of images on which it was trained"""


def train_again(cell: Cell, result: Result, data: Path, started: Weights, how: Refit) -> Refitted:
    """Train a cell on its training images and all validation images; the test set is not used.

    Start, recipe, seed, strategy and learning rate are those of the cell. No validation set is left to choose when to
    stop: training ends where the cell's kept weights were, in the same course, after as many passes over the images (at
    the end, where nothing was kept); where they were from before the rate fell, it falls from there. Where the strategy
    starts from a solved head, the head is solved as in the cell; a solved head that was kept is solved again with the
    same strength.

    Parameters
    ----------
    cell, result
        what was run, and its result
    data
        its data set
    started
        the pretrained weights from which it started
    how
        cache folder, device, progress

    Raises
    ------
    DataError
        The data are gone, or are not those of the cell; training diverges, or breaks.
    """
    locations = Locations(data, None, started, how.cache, Path(), how.device)
    with numerics(cell.recipe.threads, cell.seed, how.device) as device:
        sets = load_sets(cell, locations, device, ("train", "validation"))
        network = build(backbone_of(cell), started)
        model = assemble(network, cell, len(sets.classes)).to(device).to(memory_format=torch.channels_last)
        sets = with_activations(sets, cell, locations, model.cut_depth)
        images = together(sets)
        train_as_before(
            model, cell, result, images, (sets.images["train"], sets.images["validation"]), progress=how.progress
        )
        reached = quick_scores(predict(model, images, cell.recipe), images.targets)["macro_f1"]
        expected = result.scores["validation"]["macro_f1"]
        if reached < expected - BROKEN:
            raise DataError(
                f"the training on all images broke: macro-F1 {reached:.2f} on the images it learned from, where the "
                f"cell has {expected:.2f} on validation; export it without training again, or train with a lower lr"
            )
        return Refitted({name: tensor.cpu() for name, tensor in model.trained().items()}, len(images))


def together(sets: CellSets) -> LabelledImages:
    """The training images followed by the validation images, prepared as for training."""
    training, validation = sets.images["train"], sets.images["validation"]
    rows, targets = (
        np.concatenate([getattr(each, name) for each in (training, validation)]) for name in ("rows", "targets")
    )
    return replace(training, rows=rows, targets=targets)
