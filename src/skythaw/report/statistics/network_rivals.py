"""The best network against each of the others: each at its recommended depth, on the same draws of the sky."""

from __future__ import annotations

from typing import Any

from skythaw.report.statistics.evidence import Evidence
from skythaw.report.statistics.network_contest import ContestedNetwork, between
from skythaw.stats.intervals import holm


def network_rivals(evidence: Evidence) -> list[dict[str, Any]]:
    """The other networks, each with what the best one is above it in macro-F1, and Holm's p-value over all of them."""
    networks = [ContestedNetwork(key[0], evidence.contests[key], {}) for key in evidence.main()]
    best = max(networks, key=lambda each: each.best.mean("macro_f1"))
    others = [each for each in networks if each is not best]
    found = [between([best], [each], "macro_f1").said() for each in others]
    corrected = holm([each["p"] for each in found]) if found else []
    return [
        {"backbone": each.backbone, "depth": each.best.depth, **apart, "p_holm": p}
        for each, apart, p in zip(others, found, corrected, strict=True)
    ]
