"""Scores in bootstrap draws of the sky: whole groups of objects are drawn, all cells are scored on the same draws.

Objects of one group (a field, a HEALPix pixel: the unit of the split) share seeing, calibration and even pixels, so
groups are drawn with replacement (Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from skythaw.report.sample import Sample

DRAWS = 2000
MAIN = ("macro_f1", "accuracy", "balanced_accuracy", "log_loss")
PER_CLASS = ("precision", "recall", "f1")
LARGEST = {"log_loss": np.inf}
"""The largest value of a score, where it is not 1."""

Scores = dict[str, np.ndarray]
"""By name of the score (`MAIN`; of a class: ``f1 QSO``): float [cell, draw]. Draw 0 is the sample itself."""


class Bootstrap:
    """Draws of the groups of a sample.

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
        groups = int(sample.group.max()) + 1
        self.weights = np.concatenate([np.ones((1, groups), dtype=np.float32), drawn(groups, draws, seed)])
        """how often each group is in each draw, [draw, group]"""

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum of a value of each object in each draw, float [draw]."""
        sums = np.bincount(self.sample.group, values, self.weights.shape[1])
        return self.weights @ sums.astype(np.float32)

    def confusion(self, said: Int[np.ndarray, " object"]) -> Float[np.ndarray, "draw class class"]:
        """Objects of each true class (first) that were given each class (second), in each draw."""
        sample, classes = self.sample, len(self.sample.classes)
        place = (sample.group * classes + sample.true) * classes + said
        counts = np.bincount(place, minlength=self.weights.shape[1] * classes**2).astype(np.float32)
        return (self.weights @ counts.reshape(-1, classes**2)).reshape(-1, classes, classes)

    def scores(self, keys: Sequence[str]) -> Scores:
        """Every score of some cells in every draw."""
        each = [self._scores(key) for key in keys]
        return {name: np.stack([one[name] for one in each]) for name in each[0]}

    def _scores(self, key: str) -> dict[str, np.ndarray]:
        confusion = self.confusion(self.sample.said[key])
        losses = self.total(self.sample.loss[key]) / confusion.sum((1, 2))
        return {**scores_of(confusion, self.sample.classes), "log_loss": losses.astype(np.float32)}


def drawn(groups: int, draws: int, seed: int) -> Float[np.ndarray, "draw group"]:
    """How often each group is in each draw of as many groups, with replacement."""
    rng = np.random.Generator(np.random.PCG64(seed))
    counts = np.empty((draws, groups), dtype=np.float32)
    for each in counts:
        each[:] = np.bincount(rng.integers(groups, size=groups), minlength=groups)
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
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
