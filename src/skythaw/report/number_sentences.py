"""What a report says of numbers beside the images: the control, the numbers alone, and both together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skythaw.report.number_format import listed, points, with_interval
from skythaw.report.statistics.depth_contest import MARGIN

Gain = Mapping[str, Any]
"""``difference``, and the ends of its interval"""


def with_ends(gain: Gain) -> str:
    """``5.5 points of macro-F1 (3.1 to 7.9)``: a difference in hundredths of the score."""
    value, low, high = (points(gain[name], sign=False) for name in ("difference", "low", "high"))
    if gain["low"] > 0 and float(low) == 0:  # 0.0 would say that there may be none
        low = f"{100 * gain['low']:.1g}"
    return f"{value} points of macro-F1 ({low} to {high})"


def turned(gain: Gain) -> dict[str, float]:
    """The same difference the other way round."""
    return {"difference": -gain["difference"], "low": -gain["high"], "high": -gain["low"]}


def together(pair: Gain) -> dict[str, float]:
    """A difference with the interval that holds together with those of all that were judged with it."""
    return {"difference": pair["difference"], "low": pair["low_simultaneous"], "high": pair["high_simultaneous"]}


def against(gain: Gain, other: str, seeds: int = 2) -> str:
    """How a score lies to another one; of one seed it is above or below, for better and worse are said of trainings."""
    better, worse = ("better than", "worse than") if seeds > 1 else ("above", "below")
    if gain["low"] > 0:
        return f"{with_ends(gain)} {better} {other}"
    if gain["high"] < 0:
        return f"{with_ends(turned(gain))} {worse} {other}"
    return f"not surely better or worse than {other} ({with_ends(gain)})"


def control_sentences(facts: Mapping[str, Any]) -> list[str]:
    """The control of each training size, and the best network beside it."""
    found = []
    for row in facts["control"]:
        network = row["network"]
        beside = f" {network['network']} at depth {network['depth']} {_beside(network)}." if network else ""
        found.append(
            f"Control: a forest on {row['numbers']} numbers measured from {row['train_size']:,} of the same images has "
            f"macro-F1 {with_interval(row['macro_f1'])}.{beside}"
        )
    return found


def _beside(network: Mapping[str, Any]) -> str:
    if not network["converged"]:
        return "has not converged, so it is not called better or worse than the control"
    if network["seeds"] < 2:
        return "has one seed, so it is not called better or worse than the control"
    return f"is {against(together(network), 'it')}"


def input_sentences(facts: Mapping[str, Any]) -> list[str]:
    """What images, numbers and both reach, and whether the recommended depth changes with the numbers."""
    return [_inputs(each) for each in facts["inputs"]]


def _inputs(each: Mapping[str, Any]) -> str:
    scores = {name: with_interval(score) for name, score in each["macro_f1"].items()}
    gains = {pair["second"]: together(pair) for pair in each["pairs"] if pair["first"] == "both"}
    alone, both = each["depths"]["images"], each["depths"]["both"]
    depth = f"depth {both} with and without the numbers" if alone == both else f"depth {alone} alone, {both} with them"
    reached = (
        f"{each['network']}, {each['train_size']:,} images: images alone {scores['images']}, numbers alone "
        f"{scores['table']}, both {scores['both']}."
    )
    if not each["converged"]:
        return f"{reached} The network has not converged, so none of them is called better. Recommended: {depth}."
    if each["seeds"] < 2:
        return f"{reached} There is one seed, so none of them is called better. Recommended: {depth}."
    return (
        f"{reached} Both are {against(gains['images'], 'images alone')}, and "
        f"{against(gains['table'], 'numbers alone')}. Recommended: {depth}. {_class_pairs(each)}"
    )


def _class_pairs(each: Mapping[str, Any]) -> str:
    """Of which two classes the image helps where the numbers are known, of which it adds nothing, and what is open."""
    gains = {" against ".join(one["classes"]): together(one["pairs"][1]) for one in each["class_pairs"]}
    adds = [name for name, gain in gains.items() if gain["low"] > 0]
    rest = {name: gain for name, gain in gains.items() if name not in adds}
    nothing = [f"{name} ({_points(gain)})" for name, gain in rest.items() if gain["high"] < MARGIN]
    untold = [f"{name} ({_points(gain)})" for name, gain in rest.items() if gain["high"] >= MARGIN]
    said = [
        f"the image helps to tell {listed(adds)}" if adds else "",
        f"the image adds nothing for {listed(nothing)}: surely less than {100 * MARGIN:g} point" if nothing else "",
        f"nothing that the image adds can be told for {listed(untold)}" if untold else "",
    ]
    return f"Where the numbers are known, {'; '.join(filter(None, said))}."


def _points(gain: Gain) -> str:
    value, low, high = (points(gain[name]) for name in ("difference", "low", "high"))
    return f"{value} points, {low} to {high}"
