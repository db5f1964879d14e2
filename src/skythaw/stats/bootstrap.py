"""Scores in bootstrap draws of the sky: whole groups of objects are drawn, all cells are scored on the same draws.

Objects of one group (a field, a HEALPix pixel: the unit of the split) share seeing, calibration and even pixels, so
groups are drawn with replacement (Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8

from skythaw.stats.scored_sample import Sample

DRAWS = 2000
BLOCK = 256
"""Draws that are multiplied at once."""
MAIN = ("macro_f1", "accuracy", "balanced_accuracy", "log_loss")
PER_CLASS = ("precision", "recall", "f1")
LARGEST = {"log_loss": np.inf}
"""The largest value of a score, where it is not 1."""

Scores = dict[str, np.ndarray]
"""By name of the score (`MAIN`; of a class: ``f1 QSO``): float [cell, draw]. Draw 0 is the sample itself."""


class Bootstrap:
    """Draws of the groups of a sample.

    Of few groups, draws spread too little: how far each draw is from the sample is widened by ``sqrt(G / (G - 1))``,
    and by what Student's t with G - 1 degrees of freedom is wider than the normal distribution at 95 %.

    Parameters
    ----------
    sample
        the objects, and what cells said of them
    draws
        how many
    seed
        of the draws: the same seed gives the same intervals
    """

    def __init__(self, sample: Sample, draws: int = DRAWS, seed: int = 0) -> None:
        self.sample = sample
        self.groups = int(sample.group.max()) + 1
        self.times = np.concatenate([np.ones((1, self.groups), dtype=np.uint8), drawn(self.groups, draws, seed)])
        """how often each group is in each draw, [draw, group]; draw 0 is the sample itself"""
        self._widening = widening(self.groups)

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of a value of each object in each draw, float [draw]."""
        return self.totals([values])[:, 0]

    def totals(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """The sums of several values of each object in each draw, float [draw, value]: quicker than one by one."""
        return self._weighted(np.stack([np.bincount(self.sample.group, each, self.groups) for each in values], axis=1))

    def widened(self, values: np.ndarray) -> np.ndarray:
        """A score in every draw (the last axis), as far from the sample's as few groups demand."""
        return values[..., :1] + self._widening * (values - values[..., :1])

    def scores(self, keys: Sequence[str]) -> Scores:
        """Every score of some cells in every draw."""
        classes = len(self.sample.classes)
        columns = [part for key in keys for part in (self._counts(key), self._losses(key))]
        sums = self._weighted(np.concatenate(columns, axis=1)).reshape(-1, len(keys), classes**2 + 1)
        each = []
        for i in range(len(keys)):
            confusion = sums[:, i, :-1].reshape(-1, classes, classes)
            losses = sums[:, i, -1] / confusion.sum((1, 2))
            each.append({**scores_of(confusion, self.sample.classes), "log_loss": losses})
        return {name: self.widened(np.stack([one[name] for one in each])) for name in each[0]}

    def balanced_log_loss(self, losses: Sequence[Float[np.ndarray, " object"]]) -> Float[np.ndarray, "model draw"]:
        """The log loss of several models in every draw, each class of the same weight.

        Parameters
        ----------
        losses
            of each model: minus the logarithm of the probability that it gave to the true class of each object
        """
        true, classes = self.sample.true, np.unique(self.sample.true)
        count = self.totals([true == c for c in classes])
        total = self.totals([np.where(true == c, loss, 0.0) for loss in losses for c in classes])
        means = _share(total.reshape(-1, len(losses), len(classes)), count[:, None])
        return self.widened((means.sum(2) / (count > 0).sum(1)[:, None]).T)

    def _counts(self, key: str) -> Int[np.ndarray, "group count"]:
        """Of each group, the objects of each true class that a cell gave each class: class by class in a row."""
        sample, classes = self.sample, len(self.sample.classes)
        place = (sample.group * classes + sample.true) * classes + sample.said[key]
        return np.bincount(place, minlength=self.groups * classes**2).reshape(-1, classes**2)

    def _losses(self, key: str) -> Float[np.ndarray, "group 1"]:
        return np.bincount(self.sample.group, self.sample.loss[key], self.groups)[:, None]

    def _weighted(self, of_groups: np.ndarray) -> np.ndarray:
        """Sums over the groups of each draw, in blocks: the counts are bytes, the sums float32."""
        of_groups = of_groups.astype(np.float32)
        parts = [self.times[i : i + BLOCK].astype(np.float32) @ of_groups for i in range(0, len(self.times), BLOCK)]
        return np.concatenate(parts)


def widening(groups: int) -> float:
    """How much wider than the spread of draws an interval of so many groups is."""
    from scipy.stats import norm, t

    return float(np.sqrt(groups / (groups - 1)) * t.ppf(0.975, groups - 1) / norm.ppf(0.975))


def drawn(groups: int, draws: int, seed: int) -> UInt8[np.ndarray, "draw group"]:
    """How often each group is in each draw of as many groups, with replacement."""
    rng = np.random.Generator(np.random.PCG64(seed))
    counts = np.empty((draws, groups), dtype=np.uint8)
    for each in counts:
        each[:] = np.minimum(np.bincount(rng.integers(groups, size=groups), minlength=groups), 255)
    return counts


def scores_of(confusion: Float[np.ndarray, "draw class class"], classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of confusion matrices, each float [draw]; a class that a draw lacks is left out of its means."""
    right = confusion.diagonal(axis1=1, axis2=2)
    held, said = confusion.sum(2), confusion.sum(1)
    there = held > 0
    recall, precision, f1 = _share(right, held), _share(right, said), _share(2 * right, held + said)

    def mean(values: np.ndarray) -> np.ndarray:
        return (values * there).sum(1) / there.sum(1)

    per_class = {
        f"{name} {c}": values[:, i]
        for name, values in zip(PER_CLASS, (precision, recall, f1), strict=True)
        for i, c in enumerate(classes)
    }
    return {
        "macro_f1": mean(f1),
        "accuracy": right.sum(1) / held.sum(1),
        "balanced_accuracy": mean(recall),
        **per_class,
    }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """One divided by the other; 0 where that is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
