"""What a study speaks for, in fields: one network at one depth, how good it is, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skythaw.report.recommendations import (
    Facts,
    Recommendation,
    best_of,
    main_recommendations,
    network_rows,
    on_validation,
)
from skythaw.report.statistics.report_rows import CONTEST

CHOSEN = ("network", "backbone", "weights", "strategy", "train_size", "depth", "blocks", "seeds")
"""what of a row its choice repeats"""
Choice = dict[str, Any]
"""What `make_choice` gives; docs/report.md has every name."""


def make_choice(facts: Facts, rivals: Sequence[Mapping[str, Any]] = (), one_rate: float | None = None) -> Choice | None:
    """What the study speaks for: the recommended depth of the network that is best on validation; None of no cell.

    Parameters
    ----------
    facts
        of the report
    rivals
        the other networks, each with what the chosen one is above it: `skythaw.report.statistics.network_rivals`
    one_rate
        the learning rate that every cell had, if no rates were tried
    """
    main = main_recommendations(facts)
    if not main:
        return None
    first = best_of(each.row for each in main)
    best = next(each for each in main if each.row is first)
    row, compared = best.row, best.comparison or {}
    return {
        **{name: row[name] for name in CHOSEN},
        "size": row.get("size", facts["data"].get("size")),
        "settings": {axis: row[axis] for axis in best.axes if axis != "size"},
        "objects": (facts["objects"] or {}).get("test"),
        "macro_f1": row["macro_f1"],
        "accuracy": row["accuracy"],
        "above_frozen": above_frozen(best),
        "depths": _depths(facts, best),
        "may_be_best": may_be_best(best),
        "sure": is_sure(best),
        "margin": compared.get("margin"),
        "one_rate": one_rate,
        "rivals": [dict(each) for each in rivals],
        "more_images": _more_images(facts, best),
        "control": _control(facts, best),
        "inputs": _inputs(facts, best),
        "converged": row["converged"],
        "not_converged": row["not_converged"],
        "unfinished": facts["cells"]["cells"] - facts["cells"]["done"] - facts["cells"]["stopped"],
        "keys": row["keys"],
    }


def _depths(facts: Facts, best: Recommendation) -> int:
    """Of how many depths it is the best; where none could be compared, how many were trained."""
    if best.comparison is None:
        return len({row["depth"] for row in network_rows(facts) if all(row[e] == best.row[e] for e in CONTEST)})
    return len(best.comparison["best_in"]) + len(best.comparison["stopped"])


def above_frozen(recommended: Recommendation) -> dict[str, float] | None:
    """What the recommended depth is above the frozen network: ``difference``, ``low``, ``high``, ``p``; None unknown.

    Interval and p-value hold together with those of all pairs of depths, because the depth was chosen among them.
    Nothing is known where the training of one of the two is not finished.
    """
    compared, depth = recommended.comparison, recommended.row["depth"]
    if compared is None or depth == 0:
        return None
    pair = next((pair for pair in compared["pairs"] if (pair["a"], pair["b"]) == (0, depth)), None)
    if pair is None or not pair["converged"]:
        return None
    found = pair["macro_f1"]
    return {
        "difference": found["difference"],
        **{name: found[f"{name}_simultaneous"] for name in ("low", "high", "p")},
    }


def may_be_best(recommended: Recommendation) -> list[int]:
    """The depths that may be the best, as far as these data tell; empty where none were compared."""
    compared = recommended.comparison
    if compared is None:
        return []
    depths: list[int] = compared["set"]
    return depths


def is_sure(recommended: Recommendation) -> bool | None:
    """Whether the recommended depth surely is what it is said to be; None where nothing can be said of that.

    That is so of one seed, of one depth, of a training that has not converged, and of a run without predictions.
    """
    compared, row = recommended.comparison, recommended.row
    if compared is None or compared["seeds"] < 2 or compared["rule"] == "only depth" or not row["converged"]:
        return None
    return bool(compared["sure"])


def _more_images(facts: Facts, best: Recommendation) -> dict[str, Any]:
    """What twice the images would give (``images``, ``difference``, ``low``, ``high``), or ``why`` it can't be told."""
    same = ("network", "strategy", "inputs")

    def of_it(several: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return next((e for e in several if all(e[name] == best.choice[name] for name in same)), {})

    if curve := of_it(facts["size_curves"]):
        gain = curve["gain"]
        return {"images": curve["twice"], "difference": gain["mean"], "low": gain["low"], "high": gain["high"]}
    untold = of_it(facts["no_size_law"])
    if len(untold.get("sizes", ())) > 1:
        return {"why": untold["why"]}
    sizes = {row["train_size"] for row in (*facts["rows"], *facts["control"])}
    return {"why": f"one number of images {'was tried' if len(sizes) < 2 else 'is finished'}"}


def _control(facts: Facts, best: Recommendation) -> dict[str, Any] | None:
    """The control of as many images, and what the chosen network is above it; None where there is none."""
    found = next((each for each in facts["control"] if each["train_size"] == best.row["train_size"]), None)
    if found is None or found["network"] is None:
        return None
    if any(found["network"][name] != best.row[name] for name in ("network", "strategy")):
        return None
    return {name: found[name] for name in ("numbers", "macro_f1", "network")}


def _inputs(facts: Facts, best: Recommendation) -> dict[str, Any] | None:
    """What the numbers that the study has beside the images add to them; None where it has none."""
    same = ("network", "strategy", "train_size")
    several = [each for each in facts["inputs"] if all(each[name] == best.row[name] for name in same)]
    scores = {
        each["inputs"]: on_validation(each)
        for each in facts["recommended"]
        if all(each[name] == best.row[name] for name in same)
    }
    return max(several, key=lambda each: scores[each["inputs"]], default=None)
