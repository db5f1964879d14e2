"""Several weights of one network against each other: each at its recommended depth, and frozen."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import Any

from skythaw.report.statistics.contenders import apart, of_network
from skythaw.report.statistics.depth_contest import Candidate, Contest
from skythaw.report.statistics.evidence import Evidence, Key


def weights_compared(evidence: Evidence) -> list[dict[str, Any]]:
    """For each backbone with several weights, what each reaches, the best first, and what every two are apart.

    ``set`` has the depths that may be the best with these weights, all of one backbone judged together. ``frozen`` is
    macro-F1 at depth 0. Pairs of ``best`` are at recommended depths: these were chosen on the same objects, so they are
    corrected for the number of depths. Those of ``frozen`` are at depth 0.
    """
    together: dict[tuple[Any, ...], list[Key]] = defaultdict(list)
    for key in evidence.main():
        together[(evidence.named(key)["backbone"], *key[1:])].append(key)
    return [_compared(evidence, keys) for keys in together.values() if len(keys) > 1]


def _compared(evidence: Evidence, keys: list[Key]) -> dict[str, Any]:
    keys = sorted(keys, key=lambda key: -evidence.contests[key].recommended.mean("macro_f1"))
    contests = [evidence.contests[key] for key in keys]
    names = {name: each for name, each in evidence.named(keys[0]).items() if name not in ("network", "weights")}
    chosen = [contest.recommended for contest in contests]
    frozen = [next((each for each in contest.whole if each.depth == 0), None) for contest in contests]
    labels = [evidence.named(key)["weights"] for key in keys]
    return {
        **names,
        "weights": [
            {
                "weights": label,
                "depth": best.depth,
                "blocks": evidence.chosen[key][best.depth].results[0].blocks,
                "set": [each.depth for each in contest.may_be_best(len(keys))],
                "macro_f1": _score(contest, best),
                "frozen": _score(contest, below) if below else None,
                "converged": not contest.not_converged,
            }
            for key, label, contest, best, below in zip(keys, labels, contests, chosen, frozen, strict=True)
        ],
        "best": _pairs(labels, contests, chosen, max(len(contest.whole) for contest in contests)),
        "frozen": _pairs(labels, contests, [each for each in frozen if each], 1) if all(frozen) else [],
    }


def _pairs(
    labels: list[str | None], contests: list[Contest], rows: list[Candidate], depths: int
) -> list[dict[str, Any]]:
    """The first of every two less the second."""
    contenders = [
        of_network(str(label), contest, row) for label, contest, row in zip(labels, contests, rows, strict=True)
    ]
    pairs = list(combinations(range(len(contenders)), 2))
    return [
        {
            "first": labels[a],
            "second": labels[b],
            "converged": not (rows[a].not_converged or rows[b].not_converged),
            **found.said_together(),
        }
        for (a, b), found in zip(pairs, apart(contenders, pairs, "macro_f1", depths), strict=True)
    ]


def _score(contest: Contest, row: Candidate) -> dict[str, float]:
    low, high = contest.interval(row, "macro_f1")
    return {"mean": row.mean("macro_f1"), "low": low, "high": high}
