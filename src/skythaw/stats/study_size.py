"""How many objects and seeds a study needs to show a difference in four of five cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skythaw.stats.differences import Difference

POWER = 0.8
MOST_SEEDS = 20
MOST_TIMES = 100.0
"""More than so many times the objects that there are is no plan."""
LEAST_FREEDOM = 2.0
"""of the spread between seeds: from fewer, nothing can be planned"""
SPREADS = (np.arange(40) + 0.5) / 40
"""Quantiles of what the true spread between seeds may be."""


@dataclass(frozen=True)
class StudySize:
    """What would do."""

    objects: int
    """in the test set"""
    seeds: int


def study_size(found: Difference, objects: int, seeds: int, target: float) -> StudySize | None:
    """The study that shows a true difference of `target`, corrected as `found` is, with a probability of `POWER`.

    The spread between seeds is known from few of them, so the power is a mean over what it may truly be (assurance:
    O'Hagan, Stevens & Campbell, Pharmaceutical Statistics 4, 187, 2005). Of all studies that would do, that is taken
    which grows objects and seeds by the smallest product. None where it can't be told: with one seed, where there is
    nothing to show, or where none would do.

    Parameters
    ----------
    found
        the difference as it is known now
    objects, seeds
        how many that took
    target
        what is to be told from nothing
    """
    if not target or seeds < 2 or found.freedom < LEAST_FREEDOM:
        return None
    times = np.geomspace(1.0, MOST_TIMES, 200)
    best, least = None, np.inf
    for more in range(seeds, MOST_SEEDS + 1):
        enough = np.flatnonzero(_power(found, times, seeds, more, abs(target)) >= POWER)
        if len(enough) and times[enough[0]] * more < least:
            least = times[enough[0]] * more
            best = StudySize(int(np.ceil(objects * times[enough[0]])), more)
    return best


def _power(
    found: Difference, times: Float[np.ndarray, " size"], seeds: int, more: int, target: float
) -> Float[np.ndarray, " size"]:
    """With so many times the objects, and `more` seeds instead of `seeds`."""
    from scipy.stats import chi2, norm, t

    spread = found.of_seeds * found.freedom / chi2.ppf(SPREADS, found.freedom)
    alone = np.maximum(0.0, spread - found.of_both)[:, None]
    of_seeds = (alone + found.of_both / times) * seeds / more
    total = found.of_objects / times + of_seeds
    freedom = found.freedom * (more - 1) / (seeds - 1)
    share = of_seeds / total
    critical = (1 - share) * norm.isf(found.needed / 2) + share * t.isf(found.needed / 2, freedom)
    away = target / np.sqrt(total)
    # a noncentral t is near a normal deviate that is as much wider as the estimated error is uncertain
    return np.asarray(norm.sf((critical - away) / np.sqrt(1 + critical**2 * share**2 / (2 * freedom))).mean(0))
