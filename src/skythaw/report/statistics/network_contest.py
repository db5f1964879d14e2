"""Networks against each other: each at its recommended depth, on the same draws of the sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skythaw.report.statistics.candidate import Candidate
from skythaw.report.statistics.depth_contest import Contest
from skythaw.report.statistics.report_rows import NAMES
from skythaw.spec.weights_choice import IMAGENET
from skythaw.stats.differences import Difference, Means, differences

COSTS = ("parameters", "file_bytes", "latency")


@dataclass(frozen=True, eq=False)
class ContestedNetwork:
    """A network with its depths, at the largest training size of the study."""

    names: dict[str, Any]
    """of the network, its backbone and its weights, as `Evidence.named` gives them"""
    contest: Contest
    rows: dict[int, dict[str, Any]]
    """by depth, the report's row"""

    @property
    def network(self) -> str:
        name: str = self.names["network"]
        return name

    @property
    def seed_name(self) -> str | None:
        """Its name in the seed study, which knew ImageNet alone; None with any other weights."""
        known = self.names["weights"] in (None, IMAGENET)
        return self.names["backbone"] if known else None

    @property
    def said(self) -> dict[str, Any]:
        """Its names, for the report."""
        return {name: self.names[name] for name in ("network", *NAMES)}

    @property
    def best(self) -> Candidate:
        return self.contest.recommended

    @property
    def row(self) -> dict[str, Any]:
        return self.rows[self.best.depth]

    @property
    def shares(self) -> list[float]:
        """Of the blocks, that each decided depth trains."""
        return [each.depth / self.rows[each.depth]["blocks"] for each in self.contest.decided]


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
                **each.said,
                "depth": each.best.depth,
                "score": each.contest.estimate(each.best, each.contest.score),
                **costs,
                "on_front": front,
            }
        )
    return found


def _cost(network: ContestedNetwork, name: str) -> float | None:
    value = network.row[name]
    return value["mean"] if isinstance(value, dict) else value


def networks_apart(pairs: Sequence[tuple[ContestedNetwork, ContestedNetwork]], score: str) -> list[Difference]:
    """The score of one network minus that of another, of several pairs together, at their recommended depths.

    All are scored on the same draws of the sky; the spread between seeds is each network's own.
    """
    networks = list(dict.fromkeys(each for pair in pairs for each in pair))
    means = Means(
        draws=np.stack([each.best.scores[score].mean(0, dtype=np.float64) for each in networks]),
        spreads=tuple(each.contest.spreads(score).of(each.best) for each in networks),
        pool=tuple(range(len(networks))),
        seeds=tuple(each.contest.seeds for each in networks),
    )
    return differences(means, [(networks.index(one), networks.index(other)) for one, other in pairs])
