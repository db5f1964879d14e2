"""Train a finished cell again on its training and validation images together, for `skythaw export --refit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import Weights
from skythaw.machine.numerics import numerics
from skythaw.spec import Cell
from skythaw.study.cell_result import Result
from skythaw.study.cell_sets import CellSets, load_sets, with_activations
from skythaw.tuning.frozen_head import TRAINED, solve_again, starting_head
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.linear_probe import start_from
from skythaw.tuning.locations import Locations
from skythaw.tuning.thawed_network import assemble
from skythaw.tuning.training_loop import refit
from skythaw.tuning.training_pace import steps_an_epoch


@dataclass(frozen=True)
class Refit:
    """How a cell is trained again on this machine."""

    cache: Path
    """folder for caches"""
    device: str = "auto"
    progress: Callable[[Iterable[int], int], Iterable[int]] = lambda steps, number: steps
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
    the end, where nothing was kept). Where the strategy starts from a solved head, the head is solved as in the cell; a
    solved head that was kept is solved again with the same strength.

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
        The data are gone, or are not those of the cell; or training diverges.
    """
    locations = Locations(data, None, started, how.cache, Path(), how.device)
    with numerics(cell.recipe.threads, cell.seed, how.device) as device:
        sets = load_sets(cell, locations, device, ("train", "validation"))
        network = build(backbone_of(cell), started)
        model = assemble(network, cell, len(sets.classes)).to(device).to(memory_format=torch.channels_last)
        sets = with_activations(sets, cell, locations, model.cut_depth)
        recipe = cell.recipe.model_copy(update={"lr": result.lr})
        images = together(sets)
        if result.head != TRAINED:
            strength = (result.probe or {})["kept_strength"]
            start_from(model, solve_again(model, result.head, strength, images, recipe))
        else:
            if model.thaw.head == "solved":
                start_from(model, starting_head(model, sets.images["train"], sets.images["validation"], recipe))
            course = _course(cell, result, len(images))
            steps = how.progress(range(course.steps), course.steps)
            refit(model, images, recipe, cell.seed, steps, course.fall_from)
        return Refitted({name: tensor.cpu() for name, tensor in model.trained().items()}, len(images))


@dataclass(frozen=True)
class Course:
    """How long to train again."""

    steps: int
    fall_from: int | None
    """of a training as long as its curve demanded: the step from which the rate falls"""


def _course(cell: Cell, result: Result, images: int) -> Course:
    """As many passes over so many images as the cell made over fewer."""
    recipe = cell.recipe
    if recipe.epochs != "auto":
        return Course(steps_an_epoch(recipe, images) * round(result.peak_epoch or recipe.epochs), None)
    more = images / cell.train_size
    last = result.course_steps or result.curves[-1]["step"]
    fall_from = None if result.fall_from is None else round(more * result.fall_from)
    return Course(round(more * last), fall_from)


def together(sets: CellSets) -> LabelledImages:
    """The training images followed by the validation images, prepared as for training."""
    training, validation = sets.images["train"], sets.images["validation"]
    rows, targets = (
        np.concatenate([getattr(each, name) for each in (training, validation)]) for name in ("rows", "targets")
    )
    return replace(training, rows=rows, targets=targets)
