"""A comparison of depths in numbers, as a report's JSON holds it; the depths are counts of blocks."""

from __future__ import annotations

from typing import Any

from skythaw.report.statistics.candidate import Candidate
from skythaw.report.statistics.depth_contest import Contest
from skythaw.stats.differences import Difference, differences
from skythaw.stats.intervals import mcnemar
from skythaw.stats.study_size import study_size


def comparison(contest: Contest) -> dict[str, Any]:
    """Everything that a contest found: docs/report.md has every name."""
    best, choice, nested = contest.best, contest.recommended, contest.chosen_on_validation
    alike = _alike(contest)
    told = {best.depth, *(each["depth"] for each in alike)}
    sample = contest.sample
    return {
        "margin": contest.margin,
        "seeds": contest.seeds,
        "objects": len(sample),
        "groups": int(sample.group.max()) + 1,
        "grouped": sample.grouped,
        "best": best.depth,
        "recommended": choice.depth,
        "rule": _rule(contest),
        "sure": contest.unsure is None,
        "unsure": contest.unsure,
        "set": [each.depth for each in contest.may_be_best()],
        "behind": None if choice is best else contest.difference(best, choice).said(),
        "alike": alike,
        "apart": [each.depth for each in contest.whole if each.depth not in told],
        "not_converged": contest.not_converged,
        "best_in": contest.best_in(),
        "nested": {
            "depth": nested.depth,
            **{score: contest.estimate(nested, score) for score in ("macro_f1", "accuracy")},
        },
        "incomplete": contest.missing,
        "dropped": contest.dropped,
        "stopped": [each.depth for each in contest.stopped],
        "pairs": _pairs(contest),
    }


def _rule(contest: Contest) -> str:
    if len(contest.decided) == 1:
        return "only depth"
    return "shallowest not worse" if contest.unsure is None else "best guess"


def _alike(contest: Contest) -> list[dict[str, Any]]:
    """Depths that can't be told from the best, and what study would tell if they are as far as they seem."""
    top, found = contest.whole.index(contest.best), []
    for place, each in enumerate(contest.whole):
        if place == top:
            continue
        apart = contest.pairs()[min(top, place), max(top, place)]
        finished = not (each.not_converged or contest.best.not_converged)
        if finished and apart.sign:
            continue
        found.append(
            {"depth": each.depth, "behind": _seen_from(apart, top > place), **_needed(contest, apart, finished)}
        )
    return found


def _seen_from(apart: Difference, deeper: bool) -> dict[str, float]:
    """The best less another depth, where a pair is the deeper less the shallower."""
    said = apart.said_together()
    if deeper:
        return said
    turned = {"low": "high", "high": "low", "low_simultaneous": "high_simultaneous"} | {
        "high_simultaneous": "low_simultaneous"
    }
    return {name: said[name] if name.startswith("p") else -said[turned.get(name, name)] for name in said}


def _needed(contest: Contest, apart: Difference, finished: bool) -> dict[str, int | None]:
    size = study_size(apart, len(contest.sample), contest.seeds, apart.value) if finished else None
    return {"objects_needed": size.objects if size else None, "seeds_needed": size.seeds if size else None}


def _pairs(contest: Contest) -> list[dict[str, Any]]:
    """Of every two complete depths the deeper less the shallower."""
    places = list(contest.pairs())
    of_accuracy = differences(contest.means("accuracy"), [(b, a) for a, b in places])
    found = []
    for (i, j), accuracy in zip(places, of_accuracy, strict=True):
        a, b = contest.whole[i], contest.whole[j]
        found.append(
            {
                "a": a.depth,
                "b": b.depth,
                "converged": not (a.not_converged or b.not_converged),
                "mcnemar": _mcnemar(contest, a, b),
                "macro_f1": contest.pairs()[i, j].said_together(),
                "accuracy": accuracy.said_together(),
            }
        )
    return found


def _mcnemar(contest: Contest, a: Candidate, b: Candidate) -> list[dict[str, Any]]:
    said, true = contest.sample.said, contest.sample.true
    of_b = dict(zip(b.seeds, b.keys, strict=True))
    found = []
    for seed, key in zip(a.seeds, a.keys, strict=True):
        if seed in of_b:
            only_a, only_b, p = mcnemar(said[key] == true, said[of_b[seed]] == true)
            found.append({"seed": seed, "only_a": only_a, "only_b": only_b, "p": p})
    return found
