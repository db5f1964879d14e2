"""The sixth claim of the seed study: images with photometry beat either alone, most of all for the rare class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SUPPORTED, CONTRADICTED, UNKNOWN = "supported", "contradicted", "cannot be told"
ONE_SEED = "There is one seed, so nothing is known of how other trainings would come out."
Verdict = tuple[str, str, Any]
"""the verdict, why in one sentence, and the numbers behind it"""


def photometry_claim(inputs: Sequence[dict[str, Any]], margin: float) -> Verdict:
    """Judge the claim on what images, numbers and both gave at the largest training size.

    It is supported where both are surely better than either alone, and the F1 of the rarest class gains at least as
    much over each as that of the others does on average (this last is not tested). It is contradicted where in every
    network both are surely not better by the margin than one of the two.
    """
    largest = max((each["train_size"] for each in inputs), default=None)
    found = [each for each in inputs if each["train_size"] == largest]
    if untold := _untold(found):
        return UNKNOWN, untold, found
    gains = [[pair for pair in each["pairs"] if pair["first"] == "both"] for each in found]
    better = [all(pair["low_simultaneous"] > 0 for pair in pairs) for pairs in gains]
    if any(better):
        return _most_for_the_rarest(found[better.index(True)], found)
    if all(any(pair["high_simultaneous"] < margin for pair in pairs) for pairs in gains):
        return CONTRADICTED, f"Both together are not better by {margin:g} than the better one alone.", found
    return UNKNOWN, "Both together are not surely better than either alone.", found


def _untold(found: Sequence[dict[str, Any]]) -> str:
    """Why the claim can't be judged; empty where it can."""
    if not found:
        return "This study has images alone; the claim needs photometry of the same objects too."
    if not any(each["columns"] for each in found):
        return "The numbers were measured from the images themselves; the claim is of photometry."
    if min(each["seeds"] for each in found) < 2:
        return ONE_SEED
    unfinished = [each["network"] for each in found if not each["converged"]]
    return f"The training is not finished of {', '.join(unfinished)}." if unfinished else ""


def _most_for_the_rarest(best: dict[str, Any], found: list[dict[str, Any]]) -> Verdict:
    rare, rest = best["classes"][0], best["classes"][1:]
    most = all(_gain(rare, name) >= sum(_gain(each, name) for each in rest) / len(rest) for name in ("images", "table"))
    said = f"In {best['network']}, both together are surely better than either alone"
    if most:
        return SUPPORTED, f"{said}, and {rare['class']}, the rarest class, gains most.", found
    return UNKNOWN, f"{said}, but {rare['class']}, the rarest class, does not gain most.", found


def _gain(of_class: dict[str, Any], other: str) -> float:
    """What both are above one of the two, in the F1 of a class."""
    pair = next(each for each in of_class["pairs"] if each["first"] == "both" and each["second"] == other)
    gain: float = pair["difference"]
    return gain
