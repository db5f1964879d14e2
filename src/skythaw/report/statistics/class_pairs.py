"""Two classes alone: what images and numbers add to each other where only these two are to be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float

from skythaw.report.statistics.contenders import Contender, apart, of_numbers
from skythaw.stats.bootstrap import Bootstrap

SCORE = "right"
PAIRS = ((2, 0), (2, 1))
"""of images, table, both: what both are above each alone"""


def class_pairs(bootstrap: Bootstrap, keys: Sequence[Sequence[str]], families: int) -> list[dict[str, Any]]:
    """Of every two classes, the mean share of both that is told rightly, by images, by numbers and by both.

    Only objects of the two classes count, and only their two probabilities: the larger one decides.

    Parameters
    ----------
    bootstrap
        draws of the test objects
    keys
        of the cells on images, on numbers and of both, each by seed
    families
        how many choices are judged together
    """
    sample = bootstrap.sample
    p = [np.stack([sample.probabilities(key) for key in some]) for some in keys]
    every = list(combinations(range(len(sample.classes)), 2))
    found = []
    for a, b in every:
        contenders = [of_numbers("", {SCORE: s}) for s in (_shares(each, a, b, bootstrap) for each in p)]
        found.append(
            {
                "classes": [sample.classes[a], sample.classes[b]],
                "right": dict(zip(("images", "table", "both"), map(_mean, contenders), strict=True)),
                "pairs": [
                    {"first": "both", "second": ("images", "table")[j], **each.said_together()}
                    for (_, j), each in zip(PAIRS, apart(contenders, PAIRS, SCORE, families * len(every)), strict=True)
                ],
            }
        )
    return found


def _shares(
    p: Float[np.ndarray, "seed object class"], a: int, b: int, bootstrap: Bootstrap
) -> Float[np.ndarray, "seed draw"]:
    """The mean of both classes' shares that are told rightly."""
    true = bootstrap.sample.true
    of = [(true == each).astype(float) for each in (a, b)]
    there = [np.maximum(bootstrap.total(each), 1.0) for each in of]
    rows = []
    for one in p:
        says_a = one[:, a] > one[:, b]
        right = [bootstrap.total(of[0] * says_a), bootstrap.total(of[1] * ~says_a)]
        rows.append(np.mean([r / n for r, n in zip(right, there, strict=True)], axis=0))
    return bootstrap.widened(np.stack(rows))


def _mean(contender: Contender) -> float:
    return float(contender.scores[SCORE][:, 0].mean())
