"""Classifiers of any kind against each other: networks, and models of numbers.

All are scored on the same draws of the sky, so differences are paired; the spread between seeds is each one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skythaw.report.statistics.candidate import Candidate
from skythaw.report.statistics.depth_contest import Contest
from skythaw.stats.bootstrap import Scores
from skythaw.stats.differences import Difference, Means, differences
from skythaw.stats.intervals import SeedSpread, spread_within


@dataclass(frozen=True, eq=False)
class Contender:
    """One classifier over its seeds."""

    name: str
    """``images``, ``table``, ``both`` or ``control``"""
    scores: Scores
    """[seed, draw]"""
    spread: Callable[[str], SeedSpread]
    """of a score between seeds"""

    @property
    def seeds(self) -> int:
        return len(next(iter(self.scores.values())))


def of_network(name: str, contest: Contest, candidate: Candidate) -> Contender:
    """A network at one depth."""
    return Contender(name, candidate.scores, lambda score: contest.spreads(score).of(candidate))


def of_numbers(name: str, scores: Scores) -> Contender:
    """A model of numbers alone."""
    return Contender(name, scores, lambda score: spread_within([scores[score]]))


def apart(
    contenders: Sequence[Contender], pairs: Sequence[tuple[int, int]], score: str, families: int = 1
) -> list[Difference]:
    """What the first of each pair is above the second in a score, judged together."""
    means = Means(
        draws=np.stack([each.scores[score].mean(0, dtype=np.float64) for each in contenders]),
        spreads=tuple(each.spread(score) for each in contenders),
        pool=tuple(range(len(contenders))),
        seeds=tuple(each.seeds for each in contenders),
    )
    return differences(means, pairs, families)
