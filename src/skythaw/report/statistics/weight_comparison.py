"""Several weights of one network against each other: each at its recommended depth, and frozen."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import Any

from skythaw.report.statistics.candidate import Candidate
from skythaw.report.statistics.contenders import apart, of_network
from skythaw.report.statistics.depth_contest import Contest
from skythaw.report.statistics.evidence import Evidence, Key


def weights_compared(evidence: Evidence) -> list[dict[str, Any]]:
    """For each backbone with several weights, what each reaches, the best first, and what every two are apart.

    ``set`` has the depths that may be the best with these weights, all weights of all backbones judged together.
    ``frozen`` is macro-F1 at depth 0. Pairs of ``best`` are at recommended depths: these were chosen on the same
    objects, so they are corrected for the number of depths, and no weights have their best before all their depths have
    converged. Those of ``frozen`` are at depth 0. Both are corrected for the number of backbones.
    """
    together: dict[tuple[Any, ...], list[Key]] = defaultdict(list)
    for key in evidence.main():
        together[(evidence.named(key)["backbone"], *key[1:])].append(key)
    several = [keys for keys in together.values() if len(keys) > 1]
    return [_compared(evidence, keys, len(several)) for keys in several]


def _compared(evidence: Evidence, keys: list[Key], backbones: int) -> dict[str, Any]:
    keys = sorted(keys, key=lambda key: -evidence.contests[key].recommended.mean("macro_f1"))
    contests = [evidence.contests[key] for key in keys]
    names = {name: each for name, each in evidence.named(keys[0]).items() if name not in ("network", "weights")}
    chosen = [contest.recommended for contest in contests]
    frozen = [next((each for each in contest.whole if each.depth == 0), None) for contest in contests]
    below = [each for each in frozen if each]
    labels = [evidence.named(key)["weights"] for key in keys]
    return {
        **names,
        "weights": [
            {
                "weights": label,
                "depth": best.depth,
                "blocks": evidence.chosen[key][best.depth].results[0].blocks,
                "seeds": contest.seeds,
                "tried": [each.depth for each in contest.whole],
                "set": [each.depth for each in contest.may_be_best(backbones * len(keys))],
                "macro_f1": _score(contest, best),
                "frozen": _score(contest, at_0) if at_0 else None,
                "converged": not contest.not_converged,
            }
            for key, label, contest, best, at_0 in zip(keys, labels, contests, chosen, frozen, strict=True)
        ],
        "best": _pairs(
            labels,
            contests,
            chosen,
            [not contest.not_converged for contest in contests],
            backbones * max(len(contest.whole) for contest in contests),
        ),
        "frozen": _pairs(labels, contests, below, [not each.not_converged for each in below], backbones)
        if len(below) == len(contests)
        else [],
    }


def _pairs(
    labels: list[str | None],
    contests: list[Contest],
    rows: list[Candidate],
    converged: list[bool],
    families: int,
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
            "converged": converged[a] and converged[b],
            **found.said_together(),
        }
        for (a, b), found in zip(pairs, apart(contenders, pairs, "macro_f1", families), strict=True)
    ]


def _score(contest: Contest, row: Candidate) -> dict[str, float]:
    low, high = contest.interval(row, "macro_f1")
    return {"mean": row.mean("macro_f1"), "low": low, "high": high}
