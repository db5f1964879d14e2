"""The network of the answer against each of the others: each at its recommended depth, on the same draws of the sky."""

from __future__ import annotations

from typing import Any

from skythaw.report.statistics.evidence import Evidence
from skythaw.report.statistics.network_contest import ContestedNetwork, networks_apart


def network_rivals(evidence: Evidence) -> list[dict[str, Any]]:
    """The other networks with as many training images, each with what that of the answer is above it.

    In macro-F1, alone and together.
    """
    chosen = evidence.best(evidence.main())
    best, *others = (
        ContestedNetwork(evidence.named(key), evidence.contests[key], {}) for key in (chosen, *evidence.rivals(chosen))
    )
    apart = networks_apart([(best, each) for each in others], "macro_f1") if others else []
    return [
        {
            **each.said,
            "depth": each.best.depth,
            "seeds": min(best.contest.seeds, each.contest.seeds),
            "converged": not (best.contest.not_converged or each.contest.not_converged),
            **found.said_together(),
        }
        for each, found in zip(others, apart, strict=True)
    ]
