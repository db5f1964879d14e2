"""Training, step by step: batches, loss, optimizer, learning rate, average. `training_loop` says what is kept."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from skythaw.spec import Recipe
from skythaw.tuning.epoch_draw import Draw, draw
from skythaw.tuning.frozen.crossing import crossing
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.thaw import HEAD
from skythaw.tuning.thawed_network import ThawedNetwork
from skythaw.tuning.weight_average import Average


@dataclass(frozen=True)
class Place:
    """A place on the course of a training: everything that a step changes."""

    steps: int
    state: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    average: tuple[int, list[Tensor]]


class Trainer:
    """Training, step by step.

    Parameters
    ----------
    model
        what is trained
    images
        on which objects
    recipe
        how
    seed
        of batch order, views, shifts and dropout
    rate
        the learning rate of each step, as a share of the recipe's
    """

    def __init__(
        self,
        model: ThawedNetwork,
        images: LabelledImages,
        recipe: Recipe,
        seed: int,
        rate: Callable[[int], float],
    ) -> None:
        torch.manual_seed(seed)
        model.tune(model.thaw.blocks)  # everything that learns at some time
        self.model, self.images, self.recipe = model, images, recipe
        self.steps = 0
        """done, those that were gone back on included"""
        self.place = 0
        """steps of the course that are done"""
        self.diverged = False
        """Whether a loss was not finite. On a CPU that step was not done to its end. A GPU is not waited for at each
        step: there `settle` finds out."""
        self.average = Average(list(model.trained().values()), recipe.ema)
        self._rate = rate
        self._optimizer = optimizer_of(model, recipe)
        self._parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._peaks = [group["lr"] for group in self._optimizer.param_groups]
        self._scaler = torch.amp.GradScaler(images.device.type, enabled=_mixed(images.device, recipe))
        self._batches = _drawn_batches(len(images), recipe, seed)
        self._targets = torch.from_numpy(images.targets).to(images.device)
        self._weights: Tensor | None = None
        if recipe.class_weights == "balanced":
            balanced = balanced_weights(images.targets, model.head.linear.out_features)
            self._weights = torch.from_numpy(balanced).to(images.device)
        self._phase: tuple[int, ...] | None = None
        self._waits = images.device.type != "cuda"
        self._begin_to_count()

    def step(self, phase: tuple[int, int]) -> None:
        """One batch, in a part of the training (which, of how many)."""
        learning = self.model.thaw.phase(*phase)
        if learning != self._phase:
            self.model.tune(learning)
            self._phase = learning
        chosen, drawn = next(self._batches)
        y, recipe = self._targets[chosen], self.recipe
        shifts = None if drawn.shifts is None else drawn.shifts[chosen]
        with autocast(self.images.device, recipe):
            logits = self.model.training_pass(crossing(self.model, self.images, chosen, drawn.views[chosen], shifts))
            loss = cross_entropy(logits.float(), y, weight=self._weights, label_smoothing=recipe.label_smoothing)
        self.steps += 1
        self.place += 1
        self.diverged = self._waits and not math.isfinite(loss.item())
        if self.diverged:
            return
        self._descend(loss)
        self._loss += loss.detach().to(self._loss.device).double() * len(chosen)
        self._right += (logits.argmax(1) == y).sum().to(self._right.device)
        self._seen += len(chosen)

    def settle(self) -> None:
        """Wait for the steps that were ordered, and see whether their losses were finite."""
        self.diverged |= not math.isfinite(self._loss.item())

    def _descend(self, loss: Tensor) -> None:
        optimizer, scaler = self._optimizer, self._scaler
        for group, peak in zip(optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * self._rate(self.place - 1)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if self.recipe.clip is not None:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip)
        scaler.step(optimizer)
        scaler.update()
        for parameter in self._parameters:  # the fused optimizer does not say so, and a fold is kept until they change
            torch.autograd.graph.increment_version(parameter)
        self.average.update()

    def remember(self) -> Place:
        """What it takes to go on from here as if nothing had been done since."""
        state = {name: tensor.clone() for name, tensor in self.model.trained().items()}
        optimizer = copy.deepcopy(self._optimizer.state_dict()), copy.deepcopy(self._scaler.state_dict())
        return Place(self.place, state, *optimizer, self.average.remember())

    def go_back(self, place: Place) -> None:
        """Go on from a place that was remembered. The batches are those that come next, not those that came then."""
        restore(self.model, place.state)
        self._optimizer.load_state_dict(place.optimizer)
        self._scaler.load_state_dict(place.scaler)
        self.average.go_back(place.average)
        self.place = place.steps

    def since_last(self) -> dict[str, float]:
        """Mean loss and accuracy on training images, as they were met, since this was last asked."""
        found = {"train_loss": self._loss.item() / self._seen, "train_accuracy": int(self._right) / self._seen}
        self._begin_to_count()
        return found

    def _begin_to_count(self) -> None:
        """On a GPU sums over images stay there until they are read: to read them is to wait for it."""
        device = torch.device("cpu") if self._waits else self.images.device
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._right = torch.zeros((), dtype=torch.int64, device=device)
        self._seen = 0


@torch.no_grad()
def restore(model: ThawedNetwork, state: dict[str, Tensor]) -> None:
    """Put saved tensors back into the model's trained part."""
    for name, tensor in model.trained().items():
        tensor.copy_(state[name])


def _drawn_batches(objects: int, recipe: Recipe, seed: int) -> Iterator[tuple[Int[np.ndarray, " batch"], Draw]]:
    """Batch after batch, epoch after epoch, without end; each with what chance decided in its epoch."""
    for epoch in count(1):
        drawn = draw(objects, recipe, seed, epoch)
        for chosen in batches(drawn.order, recipe.batch):
            yield chosen, drawn


def optimizer_of(model: ThawedNetwork, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over what is trained. Biases and the scales of norms are not decayed, and blocks have their own rates."""
    block_of = model.network.block_of()
    groups: dict[tuple[float, bool], list[Tensor]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            block = block_of.get(name.removeprefix("network.features."), HEAD)
            groups[model.thaw.rates.get(block, 1.0), parameter.ndim > 1].append(parameter)
    settings = [
        {"params": some, "lr": float(recipe.lr) * rate, "weight_decay": recipe.weight_decay if decayed else 0.0}
        for (rate, decayed), some in groups.items()
    ]
    return torch.optim.AdamW(settings, fused=True)


def batches(order: Int[np.ndarray, " object"], batch: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Batches of nearly equal size, none above `batch`: no last batch of one, which batch norm could not bear."""
    return iter(np.array_split(order, math.ceil(len(order) / batch)))


def _mixed(device: torch.device, recipe: Recipe) -> bool:
    return recipe.precision == "mixed" and device.type == "cuda"


def autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    return torch.autocast(device.type, enabled=_mixed(device, recipe))


def balanced_weights(targets: Int[np.ndarray, " object"], classes: int) -> Float[np.ndarray, " class"]:
    """Weights that give every class the same total: objects / (classes x objects of the class)."""
    counts = np.bincount(targets, minlength=classes)
    return (len(targets) / (classes * np.maximum(counts, 1))).astype(np.float32)
