"""Networks against models of numbers of the same objects: the control, the numbers alone, and both together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skythaw.report.statistics.class_pairs import class_pairs
from skythaw.report.statistics.contenders import Contender, apart, of_network, of_numbers
from skythaw.report.statistics.depth_contest import Contest
from skythaw.report.statistics.evidence import Evidence, Key
from skythaw.report.statistics.report_rows import ReportRow
from skythaw.spec import IMAGES

TABLE = "table"


def best_network(evidence: Evidence, train_size: int) -> Key | None:
    """The network of the answer, if it has so many training images; else that which is best with as many."""
    if (chosen := evidence.best(evidence.main()))[2:] == (train_size, IMAGES):
        return chosen
    of_size = [key for key in evidence.contests if key[2] == train_size and key[3] == IMAGES]
    return evidence.best(of_size) if of_size else None


def against_control(evidence: Evidence, row: ReportRow) -> dict[str, Any] | None:
    """What the best network with as many training images is above the control; None where there is no network.

    Its depth was chosen on the same test objects, so all networks and depths are judged together.
    """
    key = best_network(evidence, row.setting["train_size"])
    if key is None or row not in evidence.scored:
        return None
    tried = [
        (contest, candidate)
        for other, contest in evidence.contests.items()
        if other[2:] == key[2:]
        for candidate in contest.whole
    ]
    networks = [of_network(IMAGES, *each) for each in tried]
    control = of_numbers("control", evidence.scored.scores(row))
    found = apart([*networks, control], [(i, len(networks)) for i in range(len(networks))], "macro_f1")
    best = evidence.contests[key].recommended
    return {
        **evidence.named(key),
        "depth": best.depth,
        "seeds": min(len(best.seeds), control.seeds),
        "converged": not best.not_converged,
        **found[[candidate for _, candidate in tried].index(best)].said_together(),
    }


def inputs_compared(evidence: Evidence, table: Sequence[ReportRow]) -> list[dict[str, Any]]:
    """Images alone, numbers alone and both, for each network, strategy and training size that has all three.

    Each network is at the depth that is recommended for its inputs. ``pairs`` are of macro-F1; ``classes`` has the F1
    of each class, the rarest first. All pairs of one network are judged together, and corrected for the number of
    networks and of depths, since the depth was chosen on the same objects. Those of classes are corrected for the
    number of classes too.
    """
    of_size = {row.setting["train_size"]: row for row in table if row in evidence.scored}
    keys = [key for key in evidence.contests if key[3] != IMAGES and key[2] in of_size]
    keys = [key for key in keys if (*key[:3], IMAGES) in evidence.contests]
    return [_compared(evidence, key, of_size[key[2]], len(keys)) for key in keys]


def _compared(evidence: Evidence, key: Key, row: ReportRow, networks: int) -> dict[str, Any]:
    alone, both = evidence.contests[(*key[:3], IMAGES)], evidence.contests[key]
    families = networks * max(len(alone.whole), len(both.whole))
    contenders = [
        of_network(IMAGES, alone, alone.recommended),
        of_numbers(TABLE, evidence.scored.scores(row)),
        of_network("both", both, both.recommended),
    ]
    names = [each.name for each in contenders]
    pairs = [(2, 0), (2, 1), (1, 0)]
    sample = evidence.sample
    counts = np.bincount(sample.true, minlength=len(sample.classes))
    rarest_first = sorted(range(len(counts)), key=lambda i: counts[i])

    def said(score: str, families: int) -> list[dict[str, Any]]:
        found = apart(contenders, pairs, score, families)
        return [
            {"first": names[a], "second": names[b], **each.said_together()}
            for (a, b), each in zip(pairs, found, strict=True)
        ]

    settings = row.cells[0][0].cell.numbers
    keys = [alone.recommended.keys, row.keys, both.recommended.keys]
    unfinished = [*alone.recommended.not_converged, *both.recommended.not_converged]
    return {
        **evidence.named(key),
        "depths": {IMAGES: alone.recommended.depth, "both": both.recommended.depth},
        "converged": not unfinished,
        "seeds": min(each.seeds for each in contenders),
        "macro_f1": {each.name: _score(evidence, each, alone, both, row) for each in contenders},
        "columns": list(settings.columns) if settings else [],
        "fusion": [result.fusion for result in evidence.chosen[key][both.recommended.depth].results],
        "pairs": said("macro_f1", families),
        "classes": [
            {
                "class": sample.classes[i],
                "objects": int(counts[i]),
                "f1": {each.name: float(each.scores[f"f1 {sample.classes[i]}"][:, 0].mean()) for each in contenders},
                "pairs": said(f"f1 {sample.classes[i]}", families * len(counts)),
            }
            for i in rarest_first
        ],
        "class_pairs": class_pairs(evidence.bootstrap, keys, families),
    }


def _score(evidence: Evidence, each: Contender, alone: Contest, both: Contest, row: ReportRow) -> dict[str, Any]:
    mean = float(each.scores["macro_f1"][:, 0].mean())
    if each.name == TABLE:
        low, high = evidence.scored.interval(row, "macro_f1")
    else:
        contest = alone if each.name == IMAGES else both
        low, high = contest.interval(contest.recommended, "macro_f1")
    return {"mean": mean, "low": low, "high": high}
