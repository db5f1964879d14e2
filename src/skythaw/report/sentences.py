"""What a report says in words, from its facts: the same sentences on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Facts = dict[str, Any]
FEW = 30
"""Groups of the sky below which the report says that there are few."""


def main_choices(facts: Facts) -> list[dict[str, Any]]:
    """For each network the recommendation that is said first."""
    return [choice for choice in facts["recommended"] if choice["main"]]


def comparison_of(facts: Facts, choice: dict[str, Any]) -> dict[str, Any] | None:
    """The comparison of depths behind a recommendation; None where there were no predictions to compare."""
    names = ("backbone", "strategy", "train_size")
    return next((c for c in facts["comparisons"] if all(c[n] == choice[n] for n in names)), None)


def row_of(facts: Facts, choice: dict[str, Any]) -> dict[str, Any]:
    """The table's row of a recommendation."""
    names = ("backbone", "strategy", "train_size", "depth", *facts["axes"])
    return next(row for row in facts["rows"] if all(row[name] == choice[name] for name in names))


def question(facts: Facts) -> str:
    """What the study asks."""
    objects = facts["objects"] or {}
    classes = ", ".join(facts["classes"] or [])
    on = f" Scored on {objects['test']:,} test objects." if objects.get("test") else ""
    return f"Which layers of a pretrained network should be fine-tuned to tell {classes} apart?{on}"


def answer(facts: Facts, choice: dict[str, Any]) -> str:
    """What is recommended, and how sure that is: two sentences."""
    compared = comparison_of(facts, choice)
    settings = "".join(f", {axis} {choice[axis]}" for axis in facts["axes"])
    above = "" if compared is None else _above_frozen(compared)
    first = (
        f"Train {choice['depth']} of {choice['blocks']} blocks{settings} (TPR {percent(choice['tpr'])}, "
        f"TLR {percent(choice['tlr'])}): macro-F1 {with_interval(choice['macro_f1'])}{above}."
    )
    return f"{first} {_how_sure(compared, choice)}"


def _above_frozen(compared: dict[str, Any]) -> str:
    pair = _pair(compared, 0, compared["recommended"])
    if pair is None or compared["recommended"] == 0:
        return ""
    found = pair["macro_f1"]
    side = "above" if found["difference"] >= 0 else "below"
    size = points(abs(found["difference"]), sign=False)
    return f", {size} points {side} the frozen network ({points_range(found)})"


def _pair(compared: dict[str, Any], a: int, b: int) -> dict[str, Any] | None:
    return next((pair for pair in compared["pairs"] if (pair["a"], pair["b"]) == (a, b)), None)


def _how_sure(compared: dict[str, Any] | None, choice: dict[str, Any]) -> str:
    if compared is None:
        return "It is the best on validation: there are no predictions to compare depths with."
    if len(compared["best_in"]) == 1:
        return "No other depth was trained in full, so there is nothing to compare it with."
    best, margin = compared["best"], f"{compared['margin']:g}"
    others = [each["depth"] for each in compared["alike"] if each["depth"] != choice["depth"]]
    if compared["rule"] == "best":
        if not others:
            luck = "" if compared["seeds"] > 1 else " (with one seed: of these trained networks)"
            return f"It is the best, surely better than every other depth{luck}."
        return f"It is the best, but {depths(others)} can't be told from it."
    also = f"; {listed(others)} can't be told from the best either" if others else ""
    return f"It is the shallowest depth surely within {margin} of the best ({best}){also}."


def separation(compared: dict[str, Any]) -> str:
    """Whether the test set is large enough to tell the depths apart, and what it would take."""
    if len(compared["best_in"]) == 1:
        return "One depth was trained in full."
    sentences = [_apart(compared)]
    for each in compared["not_shown"]:
        enough = _enough(each["objects_needed"], "to be sure of that")
        sentences.append(f"Depth {each['depth']} seems to be within the margin; {enough}.")
    if compared["incomplete"]:
        sentences.append(f"{depths(compared['incomplete']).capitalize()} lacks seeds and took no part.")
    return " ".join(sentences)


def _apart(compared: dict[str, Any]) -> str:
    alike = compared["alike"]
    if not alike:
        return "The test set tells the best depth from every other."
    widest = max(alike, key=lambda each: each["behind"]["difference"])
    behind = widest["behind"]["difference"]
    text = (
        f"{compared['objects']:,} test objects do not tell the best depth ({compared['best']}) from "
        f"{depths(each['depth'] for each in alike)}. "
    )
    if not behind:
        return text + "They do not differ on these objects."
    enough = _enough(widest["objects_needed"], "to show it in four of five test sets")
    return text + f"If depth {widest['depth']} truly is {points(behind, sign=False)} points behind, {enough}."


def _enough(objects: int | None, purpose: str) -> str:
    if objects is None:
        return f"it takes more seeds {purpose}"
    return f"it takes about {rounded(objects)} objects {purpose}"


def nested(compared: dict[str, Any]) -> str:
    """The score of the depth that validation would have chosen: nothing was chosen on the objects it is of."""
    found = compared["nested"]
    return (
        f"Chosen on validation alone, depth {found['depth']} has macro-F1 {with_interval(found['macro_f1'])} and "
        f"accuracy {with_interval(found['accuracy'])} on test: this estimate owes nothing to a choice on the test set."
    )


def robustness(compared: dict[str, Any]) -> list[tuple[str, str]]:
    """For each choice that could have been another, what the recommendation would be then."""
    choice, robust = compared["recommended"], compared["robust"]

    def differing(found: dict[str, int]) -> str:
        other = {name: depth for name, depth in found.items() if depth != choice}
        if not other:
            return f"the same depth ({choice}) every time"
        return f"depth {choice}, but " + ", ".join(f"{depth} ({name})" for name, depth in other.items())

    names = {"log_loss": "smallest mean log loss"}
    metrics = {names.get(name, name.replace("_", " ")): depth for name, depth in robust["metric"].items()}
    seeds = {f"without seed {seed}": depth for seed, depth in robust["seeds"].items()}
    rates = {f"rate {rate}": depth for rate, depth in robust["lr"].items()}
    share = next((each["share"] for each in compared["best_in"] if each["depth"] == compared["best"]), 0.0)
    return [
        ("another score", differing(metrics)),
        ("one seed less", differing(seeds) if seeds else "not known: there is one seed"),
        ("one learning rate for all", differing(rates) if rates else "not known: one rate was tried"),
        (
            "other objects of this sky, other seeds",
            f"depth {compared['best']} is the best in {percent(share)} of the draws",
        ),
        ("another split", "not known: one was tried"),
    ]


def size_sentence(curve: dict[str, Any]) -> str:
    """What twice the images would give."""
    gain = curve["gain"]
    law = " (through two sizes, so unchecked)" if len(curve["sizes"]) == 2 else ""
    return (
        f"{curve['backbone']} ({curve['strategy']}): by a power law{law} of exponent "
        f"{interval(curve['exponent'], '.2f')}, {curve['twice']:,} images would give macro-F1 "
        f"{with_interval(curve['macro_f1'])}: {points(gain['mean'])} points ({points_range(gain)})."
    )


def method(facts: Facts) -> str:
    """How the intervals were made."""
    how = facts["method"]
    if how is None:
        return "There are no intervals: this run folder holds no predictions."
    seeds = max((row["seeds"] for row in facts["rows"]), default=1)
    what = f"{how['groups']:,} {how['drawn']}"
    if how["drawn"] != "objects":
        what += f" ({how['objects']:,} objects)"
    text = (
        f"Intervals are of {percent(how['level'])}: percentiles of {how['draws']:,} bootstrap draws of {what}, all "
        "depths on the same draws"
    )
    text += (
        ", and the spread between seeds by Student's t. "
        if seeds > 1
        else "; with one seed they know nothing of how seeds differ. "
    )
    if how["drawn"] == "objects":
        text += (
            "Objects were drawn singly: the run folder does not say which belong together on the sky (run the study "
            "again, nothing is trained twice, and it will). "
        )
    if how["missing"]:
        text += f"The predictions of {how['missing']} cells can't be read; they have no part in this. "
    if how["groups"] < FEW:
        text += f"{how['groups']} groups are few: take intervals and p-values as rough. "
    return text + "P-values are Holm's over the depths of a network; nothing is corrected for the number of networks."


def with_interval(value: dict[str, Any], form: str = ".3f") -> str:
    """``0.776 (0.761 to 0.791)``; without an interval, ``0.776 ± 0.004`` over seeds."""
    text = f"{value['mean']:{form}}"
    if value.get("low") is not None:
        return f"{text} ({value['low']:{form}} to {value['high']:{form}})"
    return text if value.get("std") is None else f"{text} ± {value['std']:{form}}"


def interval(value: dict[str, Any], form: str) -> str:
    return f"{value['mean']:{form}} ({value['low']:{form}} to {value['high']:{form}})"


def percent(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if 0 < value < 0.1 or 0.995 <= value < 1 else f"{100 * value:.0f} %"


def points(value: float, *, sign: bool = True) -> str:
    """Hundredths of a score."""
    return f"{100 * value:{'+' if sign else ''}.1f}"


def points_range(value: dict[str, Any]) -> str:
    return f"{points(value['low'])} to {points(value['high'])}"


def depths(several: Iterable[int]) -> str:
    """``depth 3``, ``depths 3 and 6``."""
    several = list(several)
    return f"depth{'s' if len(several) > 1 else ''} {listed(several)}"


def listed(several: Iterable[Any]) -> str:
    """``3``, ``3 and 6``, ``3, 6 and 10``."""
    names = [str(each) for each in several]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def rounded(count: int) -> str:
    """A number of objects to two digits."""
    if count >= 10**7:
        return "more than ten million"
    digits = max(0, len(str(count)) - 2)
    return f"{round(count, -digits):,}"
