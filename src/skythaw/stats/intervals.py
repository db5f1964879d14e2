"""Intervals of means over seeds: the sky's share from bootstrap draws, the seeds' from their spread.

A mean over S seeds is uncertain for two reasons. Other objects would have been scored otherwise: that is in the draws
(`bootstrap.py`), where every cell is scored on the same objects. And other seeds (other training images, other initial
heads) would have given other networks: S of them are too few to be drawn from, so their share is the spread between
seeds, pooled over the depths of a network, with the t distribution of its degrees of freedom.

Seeds also differ because each network errs on objects of its own. That part of their spread is in the draws too; it is
taken out of the draws, so that it counts once. Intervals of a score are percentiles of the draws (differences are
judged in `differences.py`). With one seed they speak of the objects alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

LEVEL = 0.95


@dataclass(frozen=True)
class SeedSpread:
    """How much a score differs between seeds."""

    variance: float
    """of one seed"""
    of_objects: float
    """that part of it which is due to the objects, and which draws of them hold too"""
    freedom: int
    """degrees of freedom of `variance`; 0 where there is one seed, and nothing is known"""

    def apply(self, draws: Float[np.ndarray, " draw"], seeds: int, stream: int = 0) -> Float[np.ndarray, " draw"]:
        """Draws of a mean over `seeds` seeds, the seeds' share added; draw 0, the sample itself, stays.

        The t distribution enters by its quantiles, in an order that `stream` decides: no two streams go together.
        """
        if not self.freedom or not self.variance:
            return draws
        quantiles = _t_quantiles(len(draws) - 1, self.freedom)
        noise = np.random.Generator(np.random.PCG64((977, stream))).permutation(quantiles)
        variance = draws[1:].var(ddof=1)
        shrunk = math.sqrt(self.common(variance, seeds) / variance) if variance else 0.0
        drawn = draws[0] + shrunk * (draws[1:] - draws[0]) + math.sqrt(self.variance / seeds) * noise
        return np.concatenate([draws[:1], drawn])

    def times(self, factor: float) -> SeedSpread:
        return SeedSpread(factor * self.variance, factor * self.of_objects, self.freedom)

    def common(self, variance: float, seeds: int) -> float:
        """Of the variance of draws of a mean, what is not in the spread between seeds."""
        return max(0.0, float(variance) - self.of_objects / seeds)


@lru_cache(maxsize=64)
def _t_quantiles(count: int, freedom: int) -> Float[np.ndarray, " draw"]:
    from scipy.stats import t

    return t.ppf((np.arange(count) + 0.5) / count, freedom)


NOTHING = SeedSpread(0.0, 0.0, 0)


def spread_within(rows: Sequence[Float[np.ndarray, "seed draw"]]) -> SeedSpread:
    """The spread between seeds, pooled over rows."""
    return _spread([row - row.mean(0) for row in rows], sum(len(row) - 1 for row in rows))


def unlike(rows: Sequence[Float[np.ndarray, "seed draw"]], tests: int = 1) -> set[int]:
    """Rows whose seeds differ more than those of the others do (F test, 5 %): they are not pooled with them.

    With three seeds or more: two tell too little. Where rows are compared, the test is corrected for their number
    (`tests`): else in many studies a row would be found that is like the others, and what is left would be too small.
    """
    from scipy.stats import f

    each = [spread_within([row]) for row in rows]
    freedom = sum(own.freedom for own in each)
    total = sum(own.variance * own.freedom for own in each)
    found = set()
    for i, own in enumerate(each):
        left = freedom - own.freedom
        if own.freedom > 1 and left and own.variance > 0:
            others = max(0.0, total - own.variance * own.freedom) / left
            ratio = own.variance / others if others else math.inf
            if f.sf(ratio, own.freedom, left) < (1 - LEVEL) / tests:
                found.add(i)
    return found


def spread_of_differences(scores: Float[np.ndarray, "row seed draw"]) -> SeedSpread:
    """The spread of the difference of two rows on the same seed: twice the residual of rows and seeds as two factors.

    What a seed does to all rows alike (its training images are easy) drops out of a difference.
    """
    rows, seeds, _ = scores.shape
    residual = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean((0, 1))
    found = _spread(list(residual), (rows - 1) * (seeds - 1))
    return found.times(2.0)


def _spread(residuals: Sequence[Float[np.ndarray, "seed draw"]], freedom: int) -> SeedSpread:
    """The variance of residuals, and what the draws say it owes to the objects."""
    if not freedom:
        return NOTHING
    seen = sum(float((each[:, 0].astype(np.float64) ** 2).sum()) for each in residuals)
    of_objects = sum(float(each[:, 1:].var(axis=1, ddof=1, dtype=np.float64).sum()) for each in residuals)
    return SeedSpread(seen / freedom, of_objects / freedom, freedom)


def mean_draws(
    scores: Float[np.ndarray, "seed draw"], spread: SeedSpread, stream: int = 0, largest: float = 1.0
) -> Float[np.ndarray, " draw"]:
    """A mean over seeds in every draw, the seeds' share added; none below 0 or above the largest score there is."""
    return np.clip(spread.apply(scores.mean(0, dtype=np.float64), len(scores), stream), 0.0, largest)


def stream_of(keys: Iterable[str]) -> int:
    """A number of a set of cells, for `SeedSpread.apply`: the same cells always get the same draws."""
    return zlib.crc32(" ".join(keys).encode())


def limits(draws: Float[np.ndarray, " draw"], level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of draws (the first is the sample itself, and no draw)."""
    low, high = np.quantile(draws[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def share_limits(draws: Float[np.ndarray, " draw"], objects: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share of objects, and of a score that is 1 where all are right.

    Where no object counts, or every one, all draws are alike; the end beyond them is then the exact one of the binomial
    distribution (Clopper & Pearson, Biometrika 26, 404, 1934): of 20 objects that are all right, 0.83 to 1.

    Parameters
    ----------
    draws
        of the share; the first is the sample's
    objects
        of which it is the share

    Examples
    --------
    >>> share_limits(np.ones(1000), 20)
    (0.8315..., 1.0)
    """
    low, high = np.clip(limits(draws, level), 0.0, 1.0)
    others = 1 - ((1 - level) / 2) ** (1 / objects)
    if draws[0] >= 1:
        low = min(low, 1 - others)
    if draws[0] <= 0:
        high = max(high, others)
    return float(low), float(high)


def score_limits(draws: Float[np.ndarray, " draw"], objects: int, largest: float = 1.0) -> tuple[float, float]:
    """The interval of a score: `share_limits`, or `limits` where it is not at most 1, as a log loss."""
    return share_limits(draws, objects) if largest == 1 else limits(draws)


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> tuple[int, int, float]:
    """Exact McNemar test of two models on the same objects (Psychometrika 12, 153, 1947).

    Parameters
    ----------
    first_right, second_right
        whether each object was classified rightly, bool [object]

    Returns
    -------
    only_first, only_second, p
        objects that one alone had right, and the two-sided p-value: objects count as independent
    """
    from scipy.stats import binom

    first = int((first_right & ~second_right).sum())
    second = int((second_right & ~first_right).sum())
    p = min(1.0, 2 * float(binom.cdf(min(first, second), first + second, 0.5))) if first + second else 1.0
    return first, second, p
