"""Train a finished cell again on its training and validation images together: what `skythaw export --refit` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skythaw.backbones.weights import Weights
from skythaw.spec import Cell
from skythaw.study.machine import numerics
from skythaw.study.result import Result
from skythaw.study.run_cell import Sets, Site, load_sets, make_model, solve_probe, with_activations
from skythaw.tuning.feed import Images
from skythaw.tuning.probe import start_from
from skythaw.tuning.train import refit


@dataclass(frozen=True)
class Refit:
    """How a cell is trained again on this machine."""

    cache: Path
    """the folder for caches"""
    device: str = "auto"
    progress: Callable[[Iterable[int], int], Iterable[int]] = lambda epochs, number: epochs
    """called with the epochs and their number"""


@dataclass(frozen=True)
class Refitted:
    """What training again gave."""

    trained: dict[str, Tensor]
    """as `skythaw.tuning.model.Classifier.trained` names it"""
    images: int
    """that it was trained on"""


def train_again(cell: Cell, result: Result, data: Path, started: Weights, how: Refit) -> Refitted:
    """Train a cell on the images that it was trained on and all of validation; the test set is not looked at.

    Start, recipe, seed and strategy are the cell's, and so is the learning rate, given or found. No validation is left
    to choose an epoch: training ends after as many epochs of the same schedule as the cell's best was (the last, where
    there was none). The head of a strategy that starts from a solved one is solved as in the cell.

    Parameters
    ----------
    cell, result
        what was run, and what it gave
    data
        its data set
    started
        the pretrained weights that it started from
    how
        cache folder, device, progress

    Raises
    ------
    DataError
        The data are gone, or are others; or training diverges.
    """
    site = Site(data, None, started, how.cache, Path(), how.device)
    with numerics(cell.recipe.threads, cell.seed, how.device) as device:
        sets = load_sets(cell, site, device, ("train", "validation"))
        model = make_model(cell, site, len(sets.classes)).to(device).to(memory_format=torch.channels_last)
        sets = with_activations(sets, cell, site, model.cut_depth)
        if model.thaw.head == "solved":
            start_from(model, solve_probe(model, sets, cell))
        images = together(sets)
        epochs = result.peak_epoch or cell.recipe.epochs
        recipe = cell.recipe.model_copy(update={"lr": result.lr})
        refit(model, images, recipe, cell.seed, how.progress(range(1, epochs + 1), epochs))
        return Refitted({name: tensor.cpu() for name, tensor in model.trained().items()}, len(images))


def together(sets: Sets) -> Images:
    """The training images, and behind them those of validation; prepared as for training."""
    training, validation = sets.images["train"], sets.images["validation"]
    rows, targets = (
        np.concatenate([getattr(each, name) for each in (training, validation)]) for name in ("rows", "targets")
    )
    return replace(training, rows=rows, targets=targets)
