"""Depths of one network against each other on the same objects, and the depth that is recommended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from skythaw.report.statistics.candidate import Candidate, Spreads, shared_seeds
from skythaw.stats.bootstrap import LARGEST
from skythaw.stats.depth_posterior import DepthPosterior, depth_posterior
from skythaw.stats.differences import Difference, Means, difference, differences
from skythaw.stats.intervals import LEVEL, mean_draws, score_limits, share_limits, stream_of
from skythaw.stats.scored_sample import Sample

MARGIN = 0.01
"""macro-F1 that a shallower depth may lose and still be as good."""


class Contest:
    """The depths of one network, strategy and training size.

    Parameters
    ----------
    candidates
        one for each depth, the shallowest first
    sample
        the test objects
    margin
        score that a shallower depth may lose
    score
        what decides; larger is better
    planned
        all depths of the study; by default those of the candidates
    dropped
        those of them that a search trained no further, because validation shows that they are worse
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        sample: Sample,
        margin: float = MARGIN,
        score: str = "macro_f1",
        planned: Collection[int] = (),
        dropped: Collection[int] = (),
    ) -> None:
        shared = shared_seeds([each for each in candidates if not each.out_of_race] or candidates)
        self.candidates = [each.of_seeds(shared) if shared <= {*each.seeds} else each for each in candidates]
        self.sample = sample
        self.margin = margin
        self.score = score
        self.whole = [each for each in self.candidates if {*each.seeds} == shared]
        """those that have the same seeds: a lucky seed must not beat a mean"""
        self.seeds = len(shared)
        self._tried = (tuple(planned), tuple(dropped))
        decided = {each.depth for each in self.decided}
        self.dropped = sorted({*dropped} - decided)
        """the depths that a search trained no further"""
        every = {each.depth for each in self.candidates}.union(planned)
        self.missing = sorted(every.difference(decided, dropped))
        """the depths of which too little is known, because cells of theirs failed or are still to run"""
        self._spreads: dict[str, Spreads] = {}
        self._together: dict[int, dict[tuple[int, int], Difference]] = {}

    def again(self, candidates: Sequence[Candidate], score: str | None = None) -> Contest:
        """The same contest of other candidates, or by another score."""
        return Contest(candidates, self.sample, self.margin, score or self.score, *self._tried)

    @property
    def stopped(self) -> list[Candidate]:
        """The depths that a race left with fewer seeds. They are surely not the best, and take no part in comparisons:

        their seeds are few, and not drawn without regard to how they did.
        """
        return [each for each in self.candidates if each.out_of_race and each not in self.whole]

    @property
    def decided(self) -> list[Candidate]:
        """The complete depths and the stopped ones, the shallowest first: what is not decided still lacks seeds."""
        return [each for each in self.candidates if each in self.whole or each.out_of_race]

    @property
    def left_out(self) -> list[int]:
        """All depths that were tried and take no part in comparisons, for whatever reason."""
        return sorted({each.depth for each in self.stopped}.union(self.missing, self.dropped))

    def spreads(self, score: str) -> Spreads:
        """How a score differs between seeds."""
        if score not in self._spreads:
            self._spreads[score] = Spreads(self.candidates, self.whole, score)
        return self._spreads[score]

    def draws(self, candidate: Candidate, score: str | None = None) -> np.ndarray:
        """The candidate's mean over seeds in every draw, the seeds' share included."""
        score = score or self.score
        spread = self.spreads(score).of(candidate)
        return mean_draws(candidate.scores[score], spread, stream_of(candidate.keys), LARGEST.get(score, 1.0))

    def interval(self, candidate: Candidate, score: str) -> tuple[float, float]:
        return score_limits(self.draws(candidate, score), self.sample.drawn(), LARGEST.get(score, 1.0))

    def estimate(self, candidate: Candidate, score: str) -> dict[str, float]:
        """``mean``, ``low`` and ``high``: as a report says them."""
        low, high = self.interval(candidate, score)
        return {"mean": candidate.mean(score), "low": low, "high": high}

    def means(self, score: str | None = None) -> Means:
        """The complete depths, to be set against each other: without what a seed does to all of them alike."""
        score = score or self.score
        rows = np.stack([each.scores[score].mean(0, dtype=np.float64) for each in self.whole])
        spreads, pool = self.spreads(score).beside_others
        return Means(rows, spreads, pool, (self.seeds,) * len(rows))

    def difference(self, one: Candidate, other: Candidate, score: str | None = None) -> Difference:
        """`one` minus `other`, of the complete depths."""
        return difference(self.means(score), (self.whole.index(one), self.whole.index(other)))

    def against(self, one: Candidate, others: Sequence[Candidate], families: int = 1) -> list[Difference]:
        """Other depths minus one of them, judged together."""
        base = self.whole.index(one)
        return differences(self.means(), [(self.whole.index(each), base) for each in others], families)

    def pairs(self, families: int = 1) -> dict[tuple[int, int], Difference]:
        """Of every two places (in the order of the complete depths) the deeper minus the shallower, judged together."""
        if families not in self._together:
            places = list(combinations(range(len(self.whole)), 2))
            found = differences(self.means(), [(b, a) for a, b in places], families)
            self._together[families] = dict(zip(places, found, strict=True))
        return self._together[families]

    @property
    def best(self) -> Candidate:
        """The largest mean on test; the shallower on a tie."""
        return max(self.whole, key=lambda each: (each.mean(self.score), -each.depth))

    @property
    def not_converged(self) -> list[int]:
        """The depths whose training is not finished."""
        return [each.depth for each in self.whole if each.not_converged]

    def may_be_best(self, families: int = 1) -> list[Candidate]:
        """The depths that no other is surely better than; the best one is among them with a confidence of 95 %.

        A depth that has not converged may be the best, and shows nothing of others.
        """
        worse = set()
        for (a, b), found in self.pairs(families).items():
            if found.sign and not (self.whole[a].not_converged or self.whole[b].not_converged):
                worse.add(a if found.sign > 0 else b)
        return [each for i, each in enumerate(self.whole) if i not in worse]

    def surely_good(self, families: int = 1) -> list[Candidate]:
        """The complete depths that no other is better than by the margin, all pairs judged together.

        Where two depths are right on the same objects, nothing varies: then the objects have to be so many that a share
        as large as the margin, of objects of which they are not, would have been seen (Clopper & Pearson, 1934).
        """
        unseen = share_limits(np.zeros(2), self.sample.drawn())[1]
        bad = {place for pair in self._never_apart for place in pair if unseen >= self.margin}
        for (a, b), found in self.pairs(families).items():
            if found.high_simultaneous >= self.margin:
                bad.add(a)
            if -found.low_simultaneous >= self.margin:
                bad.add(b)
        return [each for i, each in enumerate(self.whole) if i not in bad]

    @property
    def _never_apart(self) -> list[tuple[int, int]]:
        """Places of two complete depths that differ in no draw of the objects."""
        drawn = self.means().draws
        return [(a, b) for a, b in combinations(range(len(drawn)), 2) if np.array_equal(drawn[a], drawn[b])]

    @cached_property
    def posterior(self) -> DepthPosterior:
        """What is known of the true scores of the complete depths."""
        deepest = max(each.depth for each in self.whole) or 1
        return depth_posterior(self.means(), np.array([each.depth / deepest for each in self.whole]))

    @cached_property
    def _choice(self) -> tuple[Candidate, str | None]:
        """The recommended depth, and why it is not sure (None where it is)."""
        if len(self.decided) == 1:
            return self.whole[0], "one depth"
        regret = dict(zip((each.depth for each in self.whole), self.posterior.regret(), strict=True))
        guess = min(self.may_be_best(), key=lambda each: (regret[each.depth], each.depth))
        if self.seeds == 1:
            return guess, "one seed"
        if self.not_converged:
            return guess, "not converged"
        if self.missing:
            return guess, "depths are missing"
        good, within = self.surely_good(), self.posterior.within(self.margin)
        sure = (each for each, p in zip(self.whole, within, strict=True) if p >= LEVEL and each in good)
        return next(((each, None) for each in sure), (guess, "too few objects or seeds"))

    @property
    def recommended(self) -> Candidate:
        """The shallowest depth that is surely within the margin of the best: both by its interval and by what is known.

        The interval (`surely_good`) holds whatever the true scores are; `posterior` knows that neighbours are alike.
        Where there is none, the best guess: of the depths that may be the best, that with the smallest expected loss.
        """
        return self._choice[0]

    @property
    def unsure(self) -> str | None:
        """Why the recommended depth is a guess; None where it is surely within the margin of the best."""
        return self._choice[1]

    @property
    def chosen_on_validation(self) -> Candidate:
        """The largest mean on validation; the shallower on a tie: its test score was no reason to take it."""
        return max(self.whole, key=lambda each: (each.validation, -each.depth))

    def best_in(self) -> list[dict[str, Any]]:
        """How probable it is of each complete depth that it is the best, and that it is within the margin of it."""
        both = zip(self.whole, self.posterior.best_in(), self.posterior.within(self.margin), strict=True)
        return [{"depth": each.depth, "share": float(share), "within": float(p)} for each, share, p in both]
