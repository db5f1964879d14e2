"""The best network against each of the others: each at its recommended depth, on the same draws of the sky."""

from __future__ import annotations

from typing import Any

from skythaw.report.statistics.evidence import Evidence
from skythaw.report.statistics.network_contest import ContestedNetwork, networks_apart


def network_rivals(evidence: Evidence) -> list[dict[str, Any]]:
    """The other networks, each with what the best one is above it in macro-F1, alone and together with the rest."""
    networks = [ContestedNetwork(evidence.named(key), evidence.contests[key], {}) for key in evidence.main()]
    best = max(networks, key=lambda each: each.best.mean("macro_f1"))
    others = [each for each in networks if each is not best]
    apart = networks_apart([(best, each) for each in others], "macro_f1") if others else []
    return [
        {
            **each.said,
            "depth": each.best.depth,
            "converged": not (best.contest.not_converged or each.contest.not_converged),
            **found.said_together(),
        }
        for each, found in zip(others, apart, strict=True)
    ]
