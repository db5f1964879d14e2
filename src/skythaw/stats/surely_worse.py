"""Which settings can no longer be the best: a rule that may be asked again after every seed. No torch.

A setting is out if the best so far is surely better. That is the comparison of the report (`differences.py`), on
validation: objects by draws of the sky that all settings share, seeds by Student's t. Any rival might have come out as
the best, and the rule is asked several times; so each comparison has an equal share of the error, and together they
are wrong of the truly best setting in less than 5 % of studies (Bonferroni).

One seed says nothing of how seeds differ: then no setting is out. Two say little. So a spread is taken for known
beforehand: `BEFOREHAND` counts as if it had been seen with a few degrees of freedom. With every seed it weighs less. Of
what the seeds of all settings and those of the two compared say, the larger counts: one setting may be less steady than
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skythaw.stats.differences import Means, differences
from skythaw.stats.intervals import SeedSpread, spread_of_differences

FEWEST = 2
"""seeds of a setting, before it may be out"""
BEFOREHAND = SeedSpread(0.015**2, 0.0, 4)
"""How much macro-F1 of networks that differ by their seed alone differs, before any was seen."""


@dataclass(frozen=True)
class Beaten:
    """That a setting is surely worse than another one."""

    by: int
    """the place of the better one"""
    low: float
    high: float
    """how much better that is: an interval that holds for all settings and all looks at once"""


def surely_worse(
    scores: Sequence[Float[np.ndarray, "seed draw"]], finished: Sequence[bool], looks: int
) -> list[Beaten | None]:
    """Of each setting, that it is surely worse than the best; None where it may be the best itself.

    Parameters
    ----------
    scores
        of each setting, by the same seeds in the same order, in the same draws of the sky; larger is better
    finished
        whether its training is: where it is not, a setting is not called worse, and shows nothing of others
    looks
        how often the rule is asked in all, of `FEWEST` seeds or more

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sky = 0.01 * rng.normal(size=400)
    >>> good, poor = (score + sky + 0.003 * rng.normal(size=(2, 400)) for score in (0.8, 0.6))  # of two seeds
    >>> [beaten and beaten.by for beaten in surely_worse([good, poor], [True, True], looks=2)]
    [None, 0]
    """
    found: list[Beaten | None] = [None] * len(scores)
    places = [i for i, done in enumerate(finished) if done]
    if len(places) < 2 or len(scores[0]) < FEWEST:
        return found
    rows = np.stack([scores[i] for i in places]).astype(np.float64)
    means, seeds, pooled = rows.mean(1), rows.shape[1], _spread(rows)
    best = int(means[:, 0].argmax())
    for place, i in enumerate(places):
        if place != best:
            pair = [best, place]
            spread = max(pooled, _spread(rows[pair]), key=lambda each: each.variance)
            two = Means(means[pair], (spread,), (0, 0), (seeds, seeds))
            (apart,) = differences(two, [(0, 1)], families=looks * (len(rows) - 1))
            if apart.low_simultaneous > 0:
                found[i] = Beaten(places[best], apart.low_simultaneous, apart.high_simultaneous)
    return found


def _spread(rows: Float[np.ndarray, "setting seed draw"]) -> SeedSpread:
    """How much one seed differs from another, beside what it does to all settings alike: as seen, and as beforehand."""
    seen, known = spread_of_differences(rows).times(0.5), BEFOREHAND
    freedom = seen.freedom + known.freedom
    before = known.variance + seen.of_objects
    variance = (seen.variance * seen.freedom + before * known.freedom) / freedom
    return SeedSpread(variance, seen.of_objects, freedom)
