"""Train a finished cell again on its training and validation images together: what `skythaw export --refit` does."""

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
from skythaw.study.run_cell import solve_probe
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.linear_probe import start_from
from skythaw.tuning.locations import Locations
from skythaw.tuning.thawed_network import assemble
from skythaw.tuning.training_loop import refit


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
    """as `skythaw.tuning.thawed_network.ThawedNetwork.trained` names it"""
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
    locations = Locations(data, None, started, how.cache, Path(), how.device)
    with numerics(cell.recipe.threads, cell.seed, how.device) as device:
        sets = load_sets(cell, locations, device, ("train", "validation"))
        network = build(backbone_of(cell), started)
        model = assemble(network, cell, len(sets.classes)).to(device).to(memory_format=torch.channels_last)
        sets = with_activations(sets, cell, locations, model.cut_depth)
        if model.thaw.head == "solved":
            start_from(model, solve_probe(model, sets, cell))
        images = together(sets)
        epochs = result.peak_epoch or cell.recipe.epochs
        recipe = cell.recipe.model_copy(update={"lr": result.lr})
        refit(model, images, recipe, cell.seed, how.progress(range(1, epochs + 1), epochs))
        return Refitted({name: tensor.cpu() for name, tensor in model.trained().items()}, len(images))


def together(sets: CellSets) -> LabelledImages:
    """The training images, and behind them those of validation; prepared as for training."""
    training, validation = sets.images["train"], sets.images["validation"]
    rows, targets = (
        np.concatenate([getattr(each, name) for each in (training, validation)]) for name in ("rows", "targets")
    )
    return replace(training, rows=rows, targets=targets)
