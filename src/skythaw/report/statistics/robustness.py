"""Would the conclusion be another with other choices? And could it have been had more cheaply?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from skythaw.report.statistics.depth_contest import Contest
from skythaw.study.cell_result import Result


def other_choices(contest: Contest) -> dict[str, Any]:
    """The depth that other scores, and other sets of seeds, would recommend.

    Returns
    -------
    dict
        ``metric``: recommended depth by score (for log loss: the depth with the smallest mean); ``seeds``: recommended
        depth without each seed, by seed (empty with fewer than two)
    """
    metrics = {
        score: contest.again(contest.candidates, score).recommended.depth
        for score in ("macro_f1", "accuracy", "balanced_accuracy")
    }
    metrics["log_loss"] = min(contest.whole, key=lambda each: (each.mean("log_loss"), each.depth)).depth
    seeds = sorted({seed for each in contest.whole for seed in each.seeds})
    without = {seed: _without(contest, seed) for seed in seeds} if len(seeds) > 1 else {}
    return {"metric": metrics, "seeds": without}


def _without(contest: Contest, seed: int) -> int:
    left = [each.of_seeds(frozenset({*each.seeds} - {seed})) for each in contest.whole if {*each.seeds} != {seed}]
    return contest.again(left, contest.score).recommended.depth


def early_signs(depths: Sequence[int], scores: Sequence[float], results: Sequence[Sequence[Result]]) -> dict[str, Any]:
    """Signs that are there before training is over, each with how well it orders the depths.

    Parameters
    ----------
    depths, scores
        of each depth, its mean test score
    results
        of each depth, those of its seeds

    Returns
    -------
    dict
        by name of the sign: ``correlation`` (Spearman's, over the depths; None where it is not defined), and ``regret``
        (score lost by taking the depth with the best sign)
    """
    share = {"after one epoch": 0.0, "after a fifth of the epochs": 0.2, "at the end": 1.0}
    signs: dict[str, list[float]] = {"depth (deeper is better)": [float(depth) for depth in depths]}
    for when, part in share.items():
        for name, score, sign in (("log loss", "log_loss", -1), ("macro-F1", "macro_f1", 1)):
            signs[f"validation {name} {when}"] = [
                sign * fmean(_at(result, part, score) for result in some) for some in results
            ]
    return {name: _judged(values, scores) for name, values in signs.items()}


def _at(result: Result, part: float, score: str) -> float:
    if not result.curves:
        return math.nan
    place = max(0, math.ceil(part * len(result.curves)) - 1)
    value = result.curves[place].get(score, math.nan) if part < 1 else _kept(result, score)
    return float(value)


def _kept(result: Result, score: str) -> float:
    return float(result.scores["validation"][score])


def _judged(values: Sequence[float], scores: Sequence[float]) -> dict[str, float | None]:
    from scipy.stats import spearmanr

    known = np.isfinite(values).all() and len(values) > 2
    varies = known and len(set(values)) > 1 and len(set(scores)) > 1
    return {
        "correlation": float(spearmanr(values, scores).statistic) if varies else None,
        "regret": float(max(scores) - scores[int(np.argmax(values))]) if known else None,
    }
