"""The one training loop."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from skythaw.errors import DataError
from skythaw.spec import Recipe
from skythaw.tuning.epoch_draw import Draw, draw
from skythaw.tuning.frozen.crossing import SLICE, crossing
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.scores import quick_scores
from skythaw.tuning.thaw import HEAD
from skythaw.tuning.thawed_network import ThawedNetwork
from skythaw.tuning.training_pace import CurvePace, course, pace_of, steps_an_epoch
from skythaw.tuning.weight_average import Average


@dataclass
class Fit:
    """What training gave: curves, and where they peaked."""

    curves: list[dict[str, float]] = field(default_factory=list)
    """one entry each time that validation was scored: steps and epochs done, training loss and accuracy since the last,
    validation scores"""
    step: int = 0
    """steps of the kept weights; 0 where none could be kept"""
    score: float = -math.inf
    """their validation score, larger is better"""
    alarms: list[str] = field(default_factory=list)
    not_converged: tuple[str, ...] = ()
    """why training can't be called finished; empty where it can"""
    fall_from: int | None = None
    """of a training as long as its curve demands, the step from which the rate fell"""

    @property
    def kept(self) -> int:
        """Which entry of the curves had the weights that were kept, counted from 1; 0 where none were."""
        return next((i + 1 for i, each in enumerate(self.curves) if each["step"] == self.step), 0)


def fit(model: ThawedNetwork, training: LabelledImages, validation: LabelledImages, recipe: Recipe, seed: int) -> Fit:
    """Train the model's trained part; leave the best weights, by validation, in it.

    Parameters
    ----------
    model
        the classifier, changed in place
    training, validation
        the objects it learns from, and those that choose the weights
    recipe
        how; ``lr`` must be a number here
    seed
        of batch order, views, shifts and dropout

    Returns
    -------
    Fit
        curves and alarms. If the loss, or a prediction, stops being finite, training ends there with an alarm, and the
        best weights before it are kept.
    """
    pace = pace_of(recipe, len(training), len(validation))
    trainer = Trainer(model, training, recipe, seed, pace.rate)
    trained = model.trained()
    best = {name: value.clone() for name, value in trained.items()}
    result, epoch = Fit(), steps_an_epoch(recipe, len(training))
    while not pace.over(done := trainer.steps):
        trainer.step(pace.phase(done))
        if not (pace.due(trainer.steps) or trainer.diverged):
            continue
        with trainer.average.applied():
            p = None if trainer.diverged else predict(model, validation, recipe)
            if p is None or not np.isfinite(p).all():
                where = f"numbers of epoch {math.ceil(trainer.steps / epoch)} are not finite"
                result.alarms.append(f"diverged: {where}{_reason(model, training)}")
                break
            scores = quick_scores(p, validation.targets)
            value = scores["macro_f1"] if recipe.select == "macro_f1" else -scores["log_loss"]
            if value > result.score:
                result.step, result.score = trainer.steps, value
                best = {name: tensor.clone() for name, tensor in trained.items()}
        steps = {"step": trainer.steps, "epoch": trainer.steps / epoch}
        result.curves.append({**steps, **trainer.since_last(), **scores})
        pace.saw(trainer.steps, scores["log_loss"], value)
    restore(model, best)
    result.not_converged = (*pace.unfinished(result.step), *_worse_than_chance(result, model))
    result.fall_from = pace.fall_from if isinstance(pace, CurvePace) else None
    return result


def _worse_than_chance(result: Fit, model: ThawedNetwork) -> tuple[str, ...]:
    """The reason that the training loss of the kept weights is no better than that of guessing."""
    chance = math.log(model.head.linear.out_features)
    loss = result.curves[result.kept - 1]["train_loss"] if result.kept else math.inf
    if loss < chance:
        return ()
    return (f"its training loss, {loss:.2f}, is not below that of guessing, {chance:.2f}",)


def refit(
    model: ThawedNetwork,
    training: LabelledImages,
    recipe: Recipe,
    seed: int,
    steps: Iterable[int],
    fall_from: int | None,
) -> None:
    """Train as `fit` did, without validation, to the end of `steps`: 0, 1, 2, ...

    Parameters
    ----------
    model, training, recipe, seed
        as of `fit`
    steps
        which to do
    fall_from
        of a training as long as its curve demanded, the step from which the rate falls

    Raises
    ------
    DataError
        The loss stops being finite.
    """
    pace = pace_of(recipe, len(training), 1)
    rate = pace.rate if recipe.epochs != "auto" else partial(course, fall_from=fall_from)
    trainer = Trainer(model, training, recipe, seed, rate)
    for step in steps:
        trainer.step(pace.phase(step))
        if trainer.diverged:
            raise DataError(f"diverged: the loss of step {step + 1} is not finite{_reason(model, training)}")
    with trainer.average.applied():
        kept = {name: tensor.clone() for name, tensor in model.trained().items()}
    restore(model, kept)


@torch.no_grad()
def restore(model: ThawedNetwork, state: dict[str, Tensor]) -> None:
    """Put saved tensors back into the model's trained part."""
    for name, tensor in model.trained().items():
        tensor.copy_(state[name])


def predict(model: ThawedNetwork, images: LabelledImages, recipe: Recipe) -> Float[np.ndarray, "object class"]:
    """Probabilities of every class, float32, for every object in order."""
    return np.exp(log_probabilities(model, images, recipe))


def log_probabilities(
    model: ThawedNetwork, images: LabelledImages, recipe: Recipe
) -> Float[np.ndarray, "object class"]:
    """The logarithms of the same: finite where a probability is too small for float32."""
    return np.concatenate([log_p for log_p, _ in seen(model, images, recipe)])


def seen(model: ThawedNetwork, images: LabelledImages, recipe: Recipe) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Log-probabilities [batch, class] and pooled features [batch, feature], float32, batch by batch in order."""
    with model.evaluating(), _autocast(images.device, recipe):
        for chosen in _batches(np.arange(len(images)), recipe.batch):
            features = model.features(crossing(model, images, chosen))
            log_p = model.head.classify(features).float().log_softmax(1)
            yield log_p.cpu().numpy(), features.float().cpu().numpy()


def balanced_weights(targets: Int[np.ndarray, " object"], classes: int) -> Float[np.ndarray, " class"]:
    """Weights that give every class the same total: objects / (classes x objects of the class)."""
    counts = np.bincount(targets, minlength=classes)
    return (len(targets) / (classes * np.maximum(counts, 1))).astype(np.float32)


def _reason(model: ThawedNetwork, images: LabelledImages) -> str:
    """Why numbers may have stopped being finite, as far as it can be told."""
    for start in range(0, len(images), SLICE) if images.precision == torch.float16 else ():
        chosen = np.arange(start, min(start + SLICE, len(images)))
        if not all(bool(value.isfinite().all()) for value in crossing(model, images, chosen)):
            return '; frozen activations are too large for float16: set activations = "float32" in [recipe]'
    return ""


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
        """done"""
        self.diverged = False
        """whether the last loss was not finite; that step was not done to its end"""
        self.average = Average(list(model.trained().values()), recipe.ema)
        self._rate = rate
        self._optimizer = optimizer_of(model, recipe)
        self._peaks = [group["lr"] for group in self._optimizer.param_groups]
        self._scaler = torch.amp.GradScaler(images.device.type, enabled=_mixed(images.device, recipe))
        self._batches = _drawn_batches(len(images), recipe, seed)
        self._targets = torch.from_numpy(images.targets).to(images.device)
        self._weights: Tensor | None = None
        if recipe.class_weights == "balanced":
            balanced = balanced_weights(images.targets, model.head.linear.out_features)
            self._weights = torch.from_numpy(balanced).to(images.device)
        self._phase: tuple[int, ...] | None = None
        self._loss, self._right, self._seen = 0.0, 0, 0

    def step(self, phase: tuple[int, int]) -> None:
        """One batch, in a part of the training (which, of how many)."""
        learning = self.model.thaw.phase(*phase)
        if learning != self._phase:
            self.model.tune(learning)
            self._phase = learning
        chosen, drawn = next(self._batches)
        y, recipe = self._targets[chosen], self.recipe
        shifts = None if drawn.shifts is None else drawn.shifts[chosen]
        with _autocast(self.images.device, recipe):
            logits = self.model.training_pass(crossing(self.model, self.images, chosen, drawn.views[chosen], shifts))
            loss = cross_entropy(logits.float(), y, weight=self._weights, label_smoothing=recipe.label_smoothing)
        value = loss.item()
        self.steps += 1
        self.diverged = not math.isfinite(value)
        if self.diverged:
            return
        self._descend(loss)
        self._loss += value * len(chosen)
        self._right += int((logits.argmax(1) == y).sum())
        self._seen += len(chosen)

    def _descend(self, loss: Tensor) -> None:
        optimizer, scaler = self._optimizer, self._scaler
        for group, peak in zip(optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * self._rate(self.steps - 1)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if self.recipe.clip is not None:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(
                [p for group in optimizer.param_groups for p in group["params"]], self.recipe.clip
            )
        scaler.step(optimizer)
        scaler.update()
        self.average.update()

    def since_last(self) -> dict[str, float]:
        """Mean loss and accuracy on training images, as they were met, since this was last asked."""
        found = {"train_loss": self._loss / self._seen, "train_accuracy": self._right / self._seen}
        self._loss, self._right, self._seen = 0.0, 0, 0
        return found


def _drawn_batches(objects: int, recipe: Recipe, seed: int) -> Iterator[tuple[Int[np.ndarray, " batch"], Draw]]:
    """Batch after batch, epoch after epoch, without end; each with what chance decided in its epoch."""
    for epoch in count(1):
        drawn = draw(objects, recipe, seed, epoch)
        for chosen in _batches(drawn.order, recipe.batch):
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


def _batches(order: Int[np.ndarray, " object"], batch: int) -> Iterator[Int[np.ndarray, " batch"]]:
    """Batches of nearly equal size, none above `batch`: no last batch of one, which batch norm could not bear."""
    return iter(np.array_split(order, math.ceil(len(order) / batch)))


def _mixed(device: torch.device, recipe: Recipe) -> bool:
    return recipe.precision == "mixed" and device.type == "cuda"


def _autocast(device: torch.device, recipe: Recipe) -> torch.autocast:
    return torch.autocast(device.type, enabled=_mixed(device, recipe))
