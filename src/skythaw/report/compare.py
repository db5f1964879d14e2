"""Depths of one network against each other on the same objects, and the depth that is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from skythaw.report.bootstrap import LARGEST, Scores
from skythaw.report.intervals import (
    LEVEL,
    Difference,
    Spread,
    difference,
    holm,
    limits,
    mcnemar,
    mean_draws,
    objects_needed,
    spread_of_differences,
    spread_within,
    stream_of,
)
from skythaw.report.sample import Sample

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
        most = max(len(each.seeds) for each in candidates)
        self.whole = [each for each in candidates if len(each.seeds) == most]
        """those that no seed is missing of: a lucky seed must not beat a mean"""
        self._spreads: dict[tuple[str, bool], Spread] = {}

    def spread(self, score: str) -> Spread:
        """Of one depth's score between seeds, pooled over the depths."""
        if (score, False) not in self._spreads:
            self._spreads[score, False] = spread_within([each.scores[score] for each in self.candidates])
        return self._spreads[score, False]

    def draws(self, candidate: Candidate, score: str | None = None) -> np.ndarray:
        """The candidate's mean over seeds in every draw, the seeds' share included."""
        score = score or self.score
        return mean_draws(
            candidate.scores[score], self.spread(score), stream_of(candidate.keys), LARGEST.get(score, 1.0)
        )

    def interval(self, candidate: Candidate, score: str) -> tuple[float, float]:
        return limits(self.draws(candidate, score))

    def difference(self, one: Candidate, other: Candidate, score: str | None = None) -> Difference:
        """`one` minus `other`, on the seeds that both have."""
        score = score or self.score
        first, second = _on_common_seeds(one, other, score)
        draws = (first - second).mean(0, dtype=np.float64)
        return difference(draws, self._spread_of_differences(score), len(first), stream_of(one.keys + other.keys))

    @property
    def best(self) -> Candidate:
        """The largest mean on test; the shallower on a tie."""
        return max(self.whole, key=lambda each: (each.mean(self.score), -each.depth))

    @property
    def recommended(self) -> Candidate:
        """The shallowest depth that is surely not worse than the best by more than the margin; else the best."""
        good = (each for each in self.whole if each is not self.best and self._not_worse(each))
        return min([self.best, *good], key=lambda each: each.depth)

    @property
    def chosen_on_validation(self) -> Candidate:
        """The largest mean on validation; the shallower on a tie: its test score was no reason to take it."""
        return max(self.whole, key=lambda each: (each.validation, -each.depth))

    def shares(self) -> list[float]:
        """In which share of the draws each complete depth is the best."""
        drawn = np.stack([self.draws(each)[1:] for each in self.whole])
        wins = np.bincount(drawn.argmax(0), minlength=len(drawn))
        return (wins / wins.sum()).tolist()

    def facts(self) -> dict[str, Any]:
        """The comparison in numbers; the depths are counts of blocks."""
        best, choice, nested = self.best, self.recommended, self.chosen_on_validation
        pairs = self._pairs()
        apart = {p["a"] if p["b"] == best.depth else p["b"] for p in pairs if best.depth in (p["a"], p["b"])} - {
            each["depth"] for each in self._alike(pairs)
        }
        return {
            "margin": self.margin,
            "seeds": len(best.seeds),
            "objects": len(self.sample),
            "groups": int(self.sample.group.max()) + 1,
            "grouped": self.sample.grouped,
            "best": best.depth,
            "recommended": choice.depth,
            "rule": "best" if choice is best else "shallowest not worse",
            "behind": None if choice is best else _said(self.difference(best, choice)),
            "alike": self._alike(pairs),
            "apart": sorted(apart),
            "best_in": [{"depth": c.depth, "share": s} for c, s in zip(self.whole, self.shares(), strict=True)],
            "not_shown": self._not_shown(choice),
            "nested": {
                "depth": nested.depth,
                **{score: self._score(nested, score) for score in ("macro_f1", "accuracy")},
            },
            "incomplete": [each.depth for each in self.candidates if each not in self.whole],
            "pairs": pairs,
        }

    def _not_worse(self, candidate: Candidate) -> bool:
        return self.difference(self.best, candidate).upper < self.margin

    def _not_shown(self, choice: Candidate) -> list[dict[str, Any]]:
        """Depths shallower than the choice that may be as good: what it would take to show it."""
        found = []
        for each in self.whole:
            if each.depth < choice.depth:
                behind = self.difference(self.best, each)
                if behind.value < self.margin:
                    count = objects_needed(behind, len(self.sample), self.margin - behind.value)
                    found.append({"depth": each.depth, "behind": _said(behind), "objects_needed": count})
        return found

    def _alike(self, pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Depths that can't be told from the best, and how many objects would tell if they are as far as they seem."""
        best, found = self.best, []
        for each in self.whole:
            pair = next((p for p in pairs if {p["a"], p["b"]} == {each.depth, best.depth}), None)
            if pair is not None and pair[self.score]["p_holm"] >= 1 - LEVEL:
                behind = self.difference(best, each)
                count = objects_needed(behind, len(self.sample), behind.value)
                found.append({"depth": each.depth, "behind": _said(behind), "objects_needed": count})
        return found

    def _pairs(self) -> list[dict[str, Any]]:
        pairs = [pair for pair in combinations(self.candidates, 2) if set(pair[0].seeds) & set(pair[1].seeds)]
        found = [{"a": a.depth, "b": b.depth, "mcnemar": self._mcnemar(a, b)} for a, b in pairs]
        for score in ("macro_f1", "accuracy"):
            said = [_said(self.difference(b, a, score)) for a, b in pairs]
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
        low, high = self.interval(candidate, score)
        return {"mean": candidate.mean(score), "low": low, "high": high}

    def _spread_of_differences(self, score: str) -> Spread:
        if (score, True) not in self._spreads:
            self._spreads[score, True] = self._measure_spread(score)
        return self._spreads[score, True]

    def _measure_spread(self, score: str) -> Spread:
        seeds = set.intersection(*(set(each.seeds) for each in self.whole))
        if len(seeds) < len(self.whole[0].seeds):  # whole rows with different seeds: none is common to all
            one = self.spread(score)
            return Spread(2 * one.variance, 2 * one.of_objects, one.freedom)
        return spread_of_differences(np.stack([each.scores[score][np.argsort(each.seeds)] for each in self.whole]))


def _on_common_seeds(one: Candidate, other: Candidate, score: str) -> tuple[np.ndarray, np.ndarray]:
    common = [seed for seed in one.seeds if seed in other.seeds]
    first, second = ([each.seeds.index(seed) for seed in common] for each in (one, other))
    return one.scores[score][first], other.scores[score][second]


def _said(found: Difference) -> dict[str, float]:
    return {"difference": found.value, "low": found.low, "high": found.high, "p": found.p}
