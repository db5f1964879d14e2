"""Depths of one network against each other on the same objects, and the depth that is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from skythaw.stats.bootstrap import LARGEST, Scores
from skythaw.stats.intervals import (
    LEVEL,
    NOTHING,
    Difference,
    SeedSpread,
    difference,
    estimate,
    holm,
    limits,
    mcnemar,
    mean_draws,
    objects_needed,
    spread_of_differences,
    spread_within,
    stream_of,
    unlike,
)
from skythaw.stats.scored_sample import Sample

MARGIN = 0.01
"""macro-F1 that a shallower depth may lose and still be as good."""


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

    def mean(self, score: str) -> float:
        return float(self.scores[score][:, 0].mean())


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
    """

    def __init__(
        self, candidates: Sequence[Candidate], sample: Sample, margin: float = MARGIN, score: str = "macro_f1"
    ) -> None:
        self.candidates = list(candidates)
        self.sample = sample
        self.margin = margin
        self.score = score
        self.whole = _complete(self.candidates)
        """those that no seed is missing of: a lucky seed must not beat a mean"""
        self._spreads: dict[str, Spreads] = {}

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

    def paired_draws(self, candidate: Candidate) -> np.ndarray:
        """The same to be set against other depths: without what a seed does to all of them alike."""
        spread = self.spreads(self.score).beside_others(candidate)
        return mean_draws(candidate.scores[self.score], spread, stream_of(candidate.keys))

    def interval(self, candidate: Candidate, score: str) -> tuple[float, float]:
        return limits(self.draws(candidate, score))

    def difference(self, one: Candidate, other: Candidate, score: str | None = None) -> Difference:
        """`one` minus `other`, on the seeds that both have."""
        score = score or self.score
        first, second = _on_common_seeds(one, other, score)
        spread = self.spreads(score).between(one, other, first - second)
        draws = (first - second).mean(0, dtype=np.float64)
        return difference(draws, spread, len(first), stream_of(one.keys + other.keys))

    @property
    def best(self) -> Candidate:
        """The largest mean on test; the shallower on a tie."""
        return max(self.whole, key=lambda each: (each.mean(self.score), -each.depth))

    @property
    def recommended(self) -> Candidate:
        """The shallowest depth that is surely not worse than the best by more than the margin; else the best.

        From the best towards shallower depths each is tested, up to the first that fails: in this order no correction
        for the number of tests is needed (Maurer, Hothorn & Lehmacher, 1995).
        """
        best = choice = self.best
        for each in sorted(self.whole, key=lambda each: -each.depth):
            if each.depth < best.depth:
                if self.difference(best, each).upper >= self.margin:
                    break
                choice = each
        return choice

    @property
    def chosen_on_validation(self) -> Candidate:
        """The largest mean on validation; the shallower on a tie: its test score was no reason to take it."""
        return max(self.whole, key=lambda each: (each.validation, -each.depth))

    def shares(self) -> list[float]:
        """In which share of the draws each complete depth is the best."""
        drawn = np.stack([self.paired_draws(each)[1:] for each in self.whole])
        wins = np.bincount(drawn.argmax(0), minlength=len(drawn))
        return (wins / wins.sum()).tolist()

    def facts(self) -> dict[str, Any]:
        """The comparison in numbers; the depths are counts of blocks."""
        best, choice, nested = self.best, self.recommended, self.chosen_on_validation
        pairs = self._pairs()
        alike = self._alike(pairs)
        told = {best.depth, *(each["depth"] for each in alike)}
        return {
            "margin": self.margin,
            "seeds": len(best.seeds),
            "objects": len(self.sample),
            "groups": int(self.sample.group.max()) + 1,
            "grouped": self.sample.grouped,
            "best": best.depth,
            "recommended": choice.depth,
            "rule": "best" if choice is best else "shallowest not worse",
            "behind": None if choice is best else self.difference(best, choice).said(),
            "alike": alike,
            "apart": [each.depth for each in self.whole if each.depth not in told],
            "best_in": [{"depth": c.depth, "share": s} for c, s in zip(self.whole, self.shares(), strict=True)],
            "not_shown": self._not_shown(choice),
            "nested": {
                "depth": nested.depth,
                **{score: self._score(nested, score) for score in ("macro_f1", "accuracy")},
            },
            "incomplete": [each.depth for each in self.candidates if each not in self.whole],
            "pairs": pairs,
        }

    def _not_shown(self, choice: Candidate) -> list[dict[str, Any]]:
        """Depths shallower than the choice that may be as good: what it would take to show it."""
        found = []
        for each in self.whole:
            if each.depth < choice.depth:
                behind = self.difference(self.best, each)
                if behind.value < self.margin:
                    count = objects_needed(behind, len(self.sample), self.margin - behind.value)
                    found.append({"depth": each.depth, "behind": behind.said(), "objects_needed": count})
        return found

    def _alike(self, pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Depths that can't be told from the best, and how many objects would tell if they are as far as they seem."""
        best, found = self.best, []
        for each in self.whole:
            pair = next((p for p in pairs if {p["a"], p["b"]} == {each.depth, best.depth}), None)
            if pair is not None and pair[self.score]["p_holm"] >= 1 - LEVEL:
                behind = self.difference(best, each)
                count = objects_needed(behind, len(self.sample), behind.value, len(pairs))
                found.append({"depth": each.depth, "behind": behind.said(), "objects_needed": count})
        return found

    def _pairs(self) -> list[dict[str, Any]]:
        pairs = [pair for pair in combinations(self.candidates, 2) if set(pair[0].seeds) & set(pair[1].seeds)]
        found = [{"a": a.depth, "b": b.depth, "mcnemar": self._mcnemar(a, b)} for a, b in pairs]
        for score in ("macro_f1", "accuracy"):
            said = [self.difference(b, a, score).said() for a, b in pairs]
            for one, each, corrected in zip(found, said, holm([each["p"] for each in said]), strict=True):
                one[score] = {**each, "p_holm": corrected}
        return found

    def _mcnemar(self, a: Candidate, b: Candidate) -> list[dict[str, Any]]:
        said, true = self.sample.said, self.sample.true
        of_b = dict(zip(b.seeds, b.keys, strict=True))
        found = []
        for seed, key in zip(a.seeds, a.keys, strict=True):
            if seed in of_b:
                only_a, only_b, p = mcnemar(said[key] == true, said[of_b[seed]] == true)
                found.append({"seed": seed, "only_a": only_a, "only_b": only_b, "p": p})
        return found

    def _score(self, candidate: Candidate, score: str) -> dict[str, float]:
        return estimate(self.draws(candidate, score))


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
        like = [each for each in whole if each.keys not in self._own]
        ordered = [each.scores[score][np.argsort(each.seeds)] for each in like]
        self._paired = spread_of_differences(np.stack(ordered)) if len(ordered) > 1 else NOTHING

    def of(self, candidate: Candidate) -> SeedSpread:
        """Of one depth."""
        return self._own.get(candidate.keys, self._pooled)

    def beside_others(self, candidate: Candidate) -> SeedSpread:
        """Of one depth, without what a seed does to all depths alike: half of a difference's."""
        if candidate.keys in self._own or not self._paired.freedom:
            return self.of(candidate)
        return self._paired.times(0.5)

    def between(self, one: Candidate, other: Candidate, differences: np.ndarray) -> SeedSpread:
        """Of the difference of two depths, [seed, draw]: pooled, where both are like the others, else its own."""
        if self._paired.freedom and not {one.keys, other.keys} & set(self._own):
            return self._paired
        if len(differences) > 1:
            return spread_within([differences])
        return self._pooled.times(2.0)


def _complete(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The depths with the most seeds; of several such sets of seeds, those of the set that most depths have."""
    sets = [frozenset(each.seeds) for each in candidates]
    chosen = max(sets, key=lambda some: (len(some), sets.count(some)))
    return [each for each, some in zip(candidates, sets, strict=True) if some == chosen]


def _on_common_seeds(one: Candidate, other: Candidate, score: str) -> tuple[np.ndarray, np.ndarray]:
    common = [seed for seed in one.seeds if seed in other.seeds]
    first, second = ([each.seeds.index(seed) for seed in common] for each in (one, other))
    return one.scores[score][first], other.scores[score][second]
