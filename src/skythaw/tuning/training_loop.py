"""The one training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from skythaw.errors import DataError
from skythaw.spec import Recipe
from skythaw.tuning.frozen.crossing import SLICE, crossing
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.scores import quick_scores
from skythaw.tuning.thawed_network import ThawedNetwork
from skythaw.tuning.trainer import Place, Trainer, autocast, batches, restore
from skythaw.tuning.training_pace import known_pace, pace_of, steps_an_epoch


@dataclass
class Fit:
    """What training gave: curves, and where they peaked."""

    curves: list[dict[str, float]] = field(default_factory=list)
    """one entry each time that validation was scored: steps and epochs done, training loss and accuracy since the last,
    validation scores"""
    step: int = 0
    """steps done when the kept weights were scored; 0 where none could be kept"""
    place: int = 0
    """steps of the course that led to them, without those that were gone back on"""
    score: float = -math.inf
    """their validation score, larger is better"""
    steady: float = -math.inf
    """the mean of that score and of the one before it on the course: what decided that they were kept"""
    alarms: list[str] = field(default_factory=list)
    not_converged: tuple[str, ...] = ()
    """why training can't be called finished; empty where it can"""
    fall_from: int | None = None
    """the step of the course from which the rate fell on the way to the kept weights; None where it did not, or where
    the length was given"""
    stumbled: bool = False
    """whether the rate is too high: it diverged, or nothing was gained once the rate had risen"""

    @property
    def kept(self) -> int:
        """Which entry of the curves had the weights that were kept, counted from 1; 0 where none were."""
        return next((i + 1 for i, each in enumerate(self.curves) if each["step"] == self.step), 0)


def fit(
    model: ThawedNetwork,
    training: LabelledImages,
    validation: LabelledImages,
    recipe: Recipe,
    seed: int,
    told: Callable[[dict[str, float]], None] | None = None,
) -> Fit:
    """Train the model's trained part; leave the best weights, by validation, in it.

    The best of many scores on few objects is the luckiest. So weights are kept for the mean of their score and of the
    one before it on the course: what two scorings say, one after the other, is seldom luck.

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
    told
        called with each entry of the curves as soon as it is known

    Returns
    -------
    Fit
        curves and alarms. If the loss, or a prediction, stops being finite, training ends there with an alarm, and the
        best weights before it are kept.
    """
    pace = pace_of(recipe, len(training), len(validation))
    model.adapt(seed)
    trainer = Trainer(model, training, recipe, seed, pace.rate)
    trained = model.trained()
    best = {name: value.clone() for name, value in trained.items()}
    place: Place | None = None
    before, gained = -math.inf, -math.inf
    result, epoch = Fit(), steps_an_epoch(recipe, len(training))
    while not pace.over(trainer.place):
        trainer.step(pace.phase(trainer.place))
        if not (pace.due(trainer.place) or trainer.diverged):
            continue
        trainer.settle()
        with trainer.average.applied():
            p = None if trainer.diverged else predict(model, validation, recipe)
            if p is None or not np.isfinite(p).all():
                where = f"numbers of epoch {math.ceil(trainer.steps / epoch)} are not finite"
                result.alarms.append(f"diverged: {where}{_reason(model, training)}")
                result.not_converged = ("its training diverged",)
                result.stumbled = True
                break
            scores = quick_scores(p, validation.targets)
            value = scores["macro_f1"] if recipe.select == "macro_f1" else -scores["log_loss"]
            steady = (value + before) / 2
            if steady > result.steady or not result.step:
                result.step, result.score, result.steady = trainer.steps, value, steady
                result.place, result.fall_from = trainer.place, pace.fall_from
                best = {name: tensor.clone() for name, tensor in trained.items()}
        steps = {"step": trainer.steps, "epoch": trainer.steps / epoch}
        result.curves.append({**steps, **trainer.since_last(), **scores})
        if told:
            told(result.curves[-1])
        turn, before = pace.saw(trainer.place, scores["log_loss"], value), value
        if turn == "gained":
            place, gained = trainer.remember(), value
        elif turn == "back":
            assert place is not None  # the first score is a gain
            trainer.go_back(place)
            before = gained
    restore(model, best)
    model.merge()
    result.stumbled |= pace.stumbled
    result.not_converged += (*pace.unfinished(result.place), *_worse_than_chance(result, model))
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
    pace = known_pace(recipe, len(training), fall_from)
    model.adapt(seed)
    trainer = Trainer(model, training, recipe, seed, pace.rate)
    for step in steps:
        trainer.step(pace.phase(step))
        if trainer.diverged:
            break
    trainer.settle()
    if trainer.diverged:
        which = f"within {trainer.steps} steps" if training.device.type == "cuda" else f"of step {trainer.steps}"
        raise DataError(f"diverged: the loss {which} is not finite{_reason(model, training)}")
    with trainer.average.applied():
        kept = {name: tensor.clone() for name, tensor in model.trained().items()}
    restore(model, kept)
    model.merge()


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
    with model.evaluating(), autocast(images.device, recipe):
        for chosen in batches(np.arange(len(images)), recipe.batch):
            features = model.features(crossing(model, images, chosen))
            log_p = model.head.classify(features).float().log_softmax(1)
            yield log_p.cpu().numpy(), features.float().cpu().numpy()


def _reason(model: ThawedNetwork, images: LabelledImages) -> str:
    """Why numbers may have stopped being finite, as far as it can be told."""
    for start in range(0, len(images), SLICE) if images.precision == torch.float16 else ():
        chosen = np.arange(start, min(start + SLICE, len(images)))
        if not all(bool(value.isfinite().all()) for value in crossing(model, images, chosen)):
            return '; frozen activations are too large for float16: set activations = "float32" in [recipe]'
    return ""
