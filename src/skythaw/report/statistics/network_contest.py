"""Networks against each other: each at its recommended depth, on the same draws of the sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skythaw.report.statistics.depth_contest import Candidate, Contest
from skythaw.stats.intervals import Difference, SeedSpread, difference, estimate

COSTS = ("parameters", "file_bytes", "latency")


@dataclass(frozen=True)
class ContestedNetwork:
    """A network with its depths, at the largest training size of the study."""

    backbone: str
    contest: Contest
    rows: dict[int, dict[str, Any]]
    """by depth, the report's row"""

    @property
    def best(self) -> Candidate:
        return self.contest.recommended

    @property
    def row(self) -> dict[str, Any]:
        return self.rows[self.best.depth]

    @property
    def shares(self) -> list[float]:
        """Of the blocks, that each complete depth trains."""
        return [each.depth / self.rows[each.depth]["blocks"] for each in self.contest.whole]


def pareto(networks: Sequence[ContestedNetwork]) -> list[dict[str, Any]]:
    """Each network's score and costs, and on which fronts it is: no other is better and cheaper.

    ``on_front`` has, by cost, the share of draws in which that is so; a cost that was not measured is left out.
    """
    drawn = np.stack([each.contest.draws(each.best) for each in networks])
    found = []
    for i, each in enumerate(networks):
        costs = {name: _cost(each, name) for name in COSTS}
        front = {}
        for name, cost in costs.items():
            if cost is not None:
                rivals = [j for j, e in enumerate(networks) if j != i and (_cost(e, name) or np.inf) <= cost]
                front[name] = float((drawn[i, 1:] > drawn[rivals, 1:].max(0, initial=-np.inf)).mean())
        found.append(
            {
                "backbone": each.backbone,
                "depth": each.best.depth,
                "score": estimate(drawn[i]),
                **costs,
                "on_front": front,
            }
        )
    return found


def _cost(network: ContestedNetwork, name: str) -> float | None:
    value = network.row[name]
    return value["mean"] if isinstance(value, dict) else value


def between(first: Sequence[ContestedNetwork], second: Sequence[ContestedNetwork], score: str) -> Difference:
    """The mean of some networks minus that of others, at their recommended depths, on the same draws of the sky."""
    draws, variance, of_objects, weighted = np.zeros(1), 0.0, 0.0, 0.0
    for some, sign in ((first, 1), (second, -1)):
        for each in some:
            scores, spread = each.best.scores[score], each.contest.spreads(score).of(each.best)
            draws = draws + sign * scores.mean(0, dtype=np.float64) / len(some)
            each_counts = 1 / len(scores) / len(some) ** 2
            part = spread.variance * each_counts
            variance += part
            of_objects += spread.of_objects * each_counts
            weighted += part**2 / spread.freedom if spread.freedom else 0.0
    freedom = max(1, int(variance**2 / weighted)) if weighted else 0
    return difference(draws, SeedSpread(variance, of_objects, freedom), 1)
