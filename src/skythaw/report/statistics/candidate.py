"""One depth of a network, with what its cells scored; and the seeds on which several of them are compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from skythaw.stats.bootstrap import Scores
from skythaw.stats.intervals import SeedSpread, spread_of_differences, spread_within, unlike
from skythaw.study.cell_result import Result
from skythaw.study.convergence import together


@dataclass(frozen=True)
class Candidate:
    """One depth of a network, with what its cells scored in every draw."""

    depth: int
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    """of its cells, by seed"""
    scores: Scores
    """[seed, draw]"""
    validation: float
    """mean macro-F1 on validation"""
    not_converged: tuple[str, ...] = ()
    """why its training is not finished: then it is never called worse"""
    results: tuple[Result, ...] = ()
    """of its cells, where they are at hand"""
    out_of_race: bool = False
    """whether a race gave it no further seeds, because validation shows that it is not the best"""

    def mean(self, score: str) -> float:
        return float(self.scores[score][:, 0].mean())

    def of_seeds(self, some: frozenset[int]) -> Candidate:
        """The same depth with some of its seeds alone."""
        kept = [i for i, seed in enumerate(self.seeds) if seed in some]
        if len(kept) == len(self.seeds):
            return self
        seeds, keys = tuple(self.seeds[i] for i in kept), tuple(self.keys[i] for i in kept)
        scores = {name: rows[kept] for name, rows in self.scores.items()}
        less = replace(self, seeds=seeds, keys=keys, scores=scores)
        if not self.results:
            return less
        results = tuple(self.results[i] for i in kept)
        validation = fmean(result.scores["validation"]["macro_f1"] for result in results)
        return replace(less, results=results, validation=validation, not_converged=together(results))


class Spreads:
    """How one score differs between seeds: pooled over depths, but for those that differ more than the others.

    Parameters
    ----------
    candidates, whole
        all depths of a contest, and those that no seed is missing of
    score
        which
    """

    def __init__(self, candidates: Sequence[Candidate], whole: Sequence[Candidate], score: str) -> None:
        rows = [each.scores[score] for each in candidates]
        apart = unlike(rows)
        self._own = {candidates[i].keys: spread_within([rows[i]]) for i in apart}
        self._pooled = spread_within([row for i, row in enumerate(rows) if i not in apart])
        self._apart = {candidates[i].keys for i in unlike(rows, len(rows))}
        self._ordered = {each.keys: each.scores[score][np.argsort(each.seeds)] for each in whole}

    def of(self, candidate: Candidate) -> SeedSpread:
        """Of one depth."""
        return self._own.get(candidate.keys, self._pooled)

    @property
    def beside_others(self) -> tuple[tuple[SeedSpread, ...], tuple[int, ...]]:
        """Without what a seed does to all complete depths alike: the spreads, and which of them is each depth's."""
        like = [keys for keys in self._ordered if keys not in self._apart]
        if len(like) < 2:  # nothing to pool: all depths together
            like = list(self._ordered)
        if len(self._ordered) < 2:
            return (self._pooled,), (0,)
        base = np.stack([self._ordered[keys] for keys in like])
        spreads, pool = [spread_of_differences(base).times(0.5)], []
        for keys, rows in self._ordered.items():
            if keys in like:
                pool.append(0)
            else:
                spreads.append(spread_within([rows - base.mean(0)]))
                pool.append(len(spreads) - 1)
        return tuple(spreads), tuple(pool)


def shared_seeds(candidates: Iterable[Candidate]) -> frozenset[int]:
    """The seeds on which depths are compared: such that the most cells take part, and of several, the most depths.

    So where a cell failed, the others of its seed are left out, and not its depth. Never one seed, if some have more.
    """
    sets = [frozenset(each.seeds) for each in candidates]
    shared = {one & other for one in sets for other in sets} - {frozenset()}
    several = {each for each in shared if len(each) > 1} or shared

    def taking_part(some: frozenset[int]) -> int:
        return sum(some <= each for each in sets)

    return max(several, key=lambda some: (len(some) * taking_part(some), taking_part(some), sorted(some)))
