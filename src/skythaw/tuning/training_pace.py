"""How long a training lasts, how its learning rate goes, and when validation is scored. No torch.

With ``epochs = "auto"`` the curve decides (`CurvePace`): the rate rises in a few steps, stays while validation still
gains, and then, from where it last gained, falls to nothing (warm-up, stable, decay: Hu et al., arXiv 2404.06395;
Hägele et al., arXiv 2405.18392). So one training is as long as it must be, whatever the number of images, and no length
is chosen beforehand that would suit one depth more than another. With a number of epochs the user decides
(`GivenPace`).

Steps are counted from 0 before they are done: after step 9, ten are done. They are steps of the course: what was done
in vain, after the last gain, is gone back on and does not count.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, final

from skythaw.spec import Recipe

NOT_LONG_ENOUGH = "the most that max_steps allows"
"""stands in the reason of a training that still gained when it had to stop"""
WARM = 20
"""steps in which the rate rises"""
FEWEST = 100
"""steps before the rate may fall"""
OFTEN = 10
"""steps from one scoring of validation to the next, at least; later a sixth of all that are done"""
WAIT = 1.6
"""The rate falls if so many times the steps to the last gain brought no other."""
LOWER, HIGHER = 0.003, 0.1
"""What counts as a gain on validation: a log loss lower by this share, or a score higher by this, divided by the square
root of the number of objects (about a quarter of the score's standard error). Of few images the loss rises again while
the score still gains."""
FALL = 0.5
"""steps in which the rate falls, as a share of all before it"""
USUAL, USUAL_EPOCHS = 50, 40
"""steps, and epochs beside them, before the rate falls in a usual training (docs/log.md)"""
LAST = 0.1
"""Share of a training of given length in which its best epoch may not lie."""
STILL_FALLING = 0.02
"""Share by which the loss may not fall in that last part below all before it: the rate of a given length falls to
nothing, so that every curve ends level, and a fall there is of a training that had hardly begun."""


Turn = Literal["gained", "back"]
"""``gained``: remember this place. ``back``: go back to the place that was remembered last, for the rate to fall."""


class Pace(ABC):
    """The course of one training."""

    fall_from: int | None = None
    """the step from which the rate falls as the curve demands; None as long as it does not"""

    @property
    def stumbled(self) -> bool:
        """Whether nothing was gained once the rate had risen: then it is too high."""
        return False

    @abstractmethod
    def rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the peak rate."""

    @abstractmethod
    def phase(self, step: int) -> tuple[int, int]:
        """Where a step lies, for strategies that go by phases: in which part, from 1, of how many."""

    @abstractmethod
    def due(self, done: int) -> bool:
        """Whether validation is scored after so many steps."""

    @abstractmethod
    def saw(self, done: int, log_loss: float, score: float) -> Turn | None:
        """Take what validation gave: its log loss, and the score that is to be large. Say where to go from there."""

    @abstractmethod
    def over(self, done: int) -> bool:
        """Whether training ends after so many steps."""

    @abstractmethod
    def unfinished(self, best: int) -> tuple[str, ...]:
        """Why training can't be called finished, if the weights after `best` steps are kept; empty where it can."""


@final
class GivenPace(Pace):
    """So many epochs, with the recipe's schedule.

    Parameters
    ----------
    recipe
        with a number of epochs
    steps
        of one epoch
    """

    def __init__(self, recipe: Recipe, steps: int) -> None:
        assert recipe.epochs != "auto"
        self._recipe, self._epoch, self._epochs = recipe, steps, recipe.epochs
        self._best, self._best_epoch, self._last = -math.inf, 0, 0
        self._losses: list[float] = []

    def rate(self, step: int) -> float:
        return rate_factor(step, self._epoch * self._epochs, self._recipe)

    def phase(self, step: int) -> tuple[int, int]:
        return step // self._epoch + 1, self._epochs

    def due(self, done: int) -> bool:
        return done % self._epoch == 0

    def saw(self, done: int, log_loss: float, score: float) -> Turn | None:
        self._last = done // self._epoch
        self._losses.append(log_loss)
        if score > self._best:
            self._best, self._best_epoch = score, self._last
        return None

    def over(self, done: int) -> bool:
        patience = self._recipe.patience
        waited = patience is not None and self._last - self._best_epoch >= patience
        return waited or done >= self._epoch * self._epochs

    def unfinished(self, best: int) -> tuple[str, ...]:
        return best_at_the_end(self._epochs, best // self._epoch) or still_falling(self._losses)


@final
class CurvePace(Pace):
    """As long as validation gains.

    Parameters
    ----------
    most
        steps before the rate falls, at most
    scored
        objects of validation
    """

    def __init__(self, most: int, scored: int) -> None:
        self._most, self._higher = most, HIGHER / math.sqrt(scored)
        self._lowest, self._highest, self._gained = math.inf, -math.inf, 0
        self._next = min(OFTEN, most)
        self._cut_short: int | None = None

    @property
    def stumbled(self) -> bool:
        return self.fall_from is not None and self.fall_from <= WARM < self._most

    @property
    def steps(self) -> int | None:
        """Of the whole training; None as long as nobody knows."""
        return None if self.fall_from is None else self.fall_from + falling_steps(self.fall_from)

    def rate(self, step: int) -> float:
        return course(step, self.fall_from)

    def phase(self, step: int) -> tuple[int, int]:
        if self.fall_from is not None and step >= self.fall_from:
            return 1, 1  # the last
        parts = min(FEWEST, self._most)
        return min(step + 1, parts), parts

    def due(self, done: int) -> bool:
        return done >= self._next or done == self.steps

    def saw(self, done: int, log_loss: float, score: float) -> Turn | None:
        self._next = done + max(OFTEN, done // 6)
        if self.fall_from is not None:
            return None
        lower, higher = log_loss < (1 - LOWER) * self._lowest, score > self._highest + self._higher
        if lower:
            self._lowest = log_loss
        if higher:
            self._highest = score
        if lower or higher:
            self._gained = done
        waited = done >= WAIT * self._gained
        if (waited and done >= FEWEST) or done >= self._most:
            self._cut_short = None if waited else done
            self.fall_from = self._gained
            self._next = self._gained + max(OFTEN, self._gained // 6)
            return "back" if self._gained < done else None
        self._next = min(self._next, self._most)
        return "gained" if self._gained == done else None

    def over(self, done: int) -> bool:
        return done == self.steps

    def unfinished(self, best: int) -> tuple[str, ...]:
        if self.stumbled:
            return (f"nothing was gained after step {self.fall_from}, when its learning rate had hardly risen",)
        if self._cut_short is None:
            return ()
        return (f"it still gained after {self._cut_short:,} steps, {NOT_LONG_ENOUGH}",)


def pace_of(recipe: Recipe, objects: int, scored: int) -> Pace:
    """The pace of a training on so many objects, with so many in validation."""
    if recipe.epochs == "auto":
        return CurvePace(recipe.most_steps(objects), scored)
    return GivenPace(recipe, steps_an_epoch(recipe, objects))


def known_pace(recipe: Recipe, objects: int, fall_from: int | None) -> Pace:
    """The pace of a training that goes as another did, without validation; its rate falls from a step that is known."""
    pace = pace_of(recipe, objects, scored=1)
    if isinstance(pace, CurvePace):
        pace.fall_from = fall_from
    return pace


def steps_an_epoch(recipe: Recipe, objects: int) -> int:
    return math.ceil(objects / recipe.batch)


def expected_steps(recipe: Recipe, objects: int) -> int:
    """How many steps a training may take: known where epochs are given, else what is usual (docs/log.md)."""
    epoch = steps_an_epoch(recipe, objects)
    if recipe.epochs != "auto":
        return recipe.epochs * epoch
    usual = min(recipe.most_steps(objects), USUAL + USUAL_EPOCHS * epoch)
    return usual + falling_steps(round(usual / WAIT))


def times_expected(recipe: Recipe, objects: int, steps: float) -> float:
    """How many times as long as expected a training of so many steps was."""
    return steps / expected_steps(recipe, objects)


def expected_scorings(recipe: Recipe, objects: int) -> int:
    """How often a training may score validation."""
    if recipe.epochs != "auto":
        return recipe.epochs
    steps, even = expected_steps(recipe, objects), 6 * OFTEN
    return math.ceil(min(steps, even) / OFTEN + math.log(max(steps / even, 1)) / math.log(7 / 6))


def falling_steps(fall_from: int) -> int:
    """How many steps the rate takes to fall."""
    return max(1, round(FALL * fall_from))


def course(step: int, fall_from: int | None) -> float:
    """The rate of a step as a share of the peak: up in a few steps, level, and then straight down to nothing."""
    if fall_from is None or step < fall_from:
        return min(1.0, (step + 1) / WARM)
    return min(1.0, fall_from / WARM) * (1 - (step - fall_from + 1) / (falling_steps(fall_from) + 1))


def rate_factor(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate at a step of a training of given length, as a share of the peak rate.

    It rises (linearly; for ``onecycle`` along half a cosine from 1/25) during the warm-up, then falls along half a
    cosine to 0, or stays. One-cycle: Smith & Topin, arXiv 1708.07120; cosine: Loshchilov & Hutter, arXiv 1608.03983.
    """
    warm = recipe.warmup * steps
    if step < warm:
        share = (step + 1) / (warm + 1)
        return 0.04 + 0.96 * (1 - math.cos(math.pi * share)) / 2 if recipe.schedule == "onecycle" else share
    if recipe.schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1))) / 2


def best_at_the_end(epochs: int, best: int) -> tuple[str, ...]:
    """The reason that a training of a given length was too short, as far as its best epoch tells (counted from 1)."""
    if epochs and best > (1 - LAST) * epochs:
        return (f"best at the end: epoch {best} of {epochs}",)
    return ()


def still_falling(losses: Sequence[float]) -> tuple[str, ...]:
    """The reason that a training of a given length was too short, as far as its log losses on validation tell."""
    last = max(1, math.ceil(LAST * len(losses)))
    before, after = losses[:-last], losses[-last:]
    if before and min(after) < (1 - STILL_FALLING) * min(before):
        return (f"its log loss still fell at the end, from {min(before):.3f} to {min(after):.3f}",)
    return ()
