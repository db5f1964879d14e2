"""What a classifier is worth on labelled images, as sentences, tables and a page: see `skythaw.api.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from skythaw.report.figures.elements import INTERVAL, Chart, Gallery, Page, Picture, Section, Series, Table
from skythaw.report.figures.learning_figures import class_chart, error_charts
from skythaw.report.number_format import percent, with_interval

Found = Mapping[str, Any]
"""What `evaluate` gives."""


def evaluation_sentences(found: Found) -> list[str]:
    """What it is worth, in a few short sentences."""
    macro, own = found["macro_f1"], found["own_test"]["macro_f1"]
    alike = not found["inputs"].keys() - {"both"}
    beside = _beside_own(macro, found["own_interval"]) if alike else ""
    unit = f"{found['groups']} fields or pixels of the sky" if found["grouped"] else "single objects"
    said = [
        f"It classifies {percent(found['accuracy']['mean'])} of {found['objects']:,} objects rightly; its macro-F1 is "
        f"{macro['mean']:.3f} (95 % interval {macro['low']:.3f} to {macro['high']:.3f}, by drawing {unit}).",
        f"On the test objects of its own study it was {own:.3f}{beside}.",
    ]
    weakest = min(found["classes"], key=lambda name: found["classes"][name]["f1"]["mean"])
    said.append(f"The hardest class is {weakest}: {_of_class(found['classes'][weakest])}.")
    error = found["calibration"]["ece"]
    said.append(f"Its probabilities are off by {percent(_number(error))} on average (expected calibration error).")
    return said


def class_scores(found: Found) -> Table:
    """Completeness, purity and F1 of each class."""
    rows = tuple(
        (name, scores["objects"], *(with_interval(scores[score], ".2f") for score in ("completeness", "purity", "f1")))
        for name, scores in found["classes"].items()
    )
    return Table(
        "Scores of each class, with 95 % intervals", ("class", "objects", "completeness", "purity", "F1"), rows
    )


def confusion_counts(found: Found) -> Table:
    """How many objects of each class were taken for which."""
    names = found["confusion"]["classes"]
    rows = tuple(
        (name, *counts) for name, counts in zip(names, found["confusion"]["counts"], strict=True) if any(counts)
    )
    return Table("What the objects of each class were taken for", ("class", *(f"as {name}" for name in names)), rows)


def mistakes_table(found: Found) -> Table:
    """The surest mistakes."""
    rows = tuple(
        (each["object_id"], each["label"], each["predicted"], each["p_label"], each["p_predicted"])
        for each in found["mistakes"]["listed"]
    )
    return Table("The surest mistakes", ("object", "label", "predicted", "p of the label", "p of the predicted"), rows)


def evaluation_page(found: Found, images: Mapping[str, bytes], version: str, today: date) -> Page:
    """The page of an evaluation.

    Parameters
    ----------
    found
        from `evaluate`
    images
        PNG files by object, of the mistakes; some may be missing
    version, today
        for the foot
    """
    named = {name: found["made_by"][name] for name in ("network", "depth")}
    curves = class_chart(named, found["completeness_and_purity"])
    errors = error_charts({**named, "columns": found["against"]})
    parts: list[tuple[str, str, tuple[Any, ...]]] = [
        ("classes", "Classes", (class_scores(found), *([curves] if curves else []), confusion_counts(found))),
        ("brightness", "Where it fails", tuple(errors)),
        ("calibration", "Probabilities", (_reliability(found),)),
        ("mistakes", "The surest mistakes", (*_gallery(found, images), mistakes_table(found))),
    ]
    return Page(
        title=f"{found['bundle']} on {found['labelled']}",
        question=f"What is the classifier {found['bundle']} worth on {found['labelled']}?",
        answers=tuple(evaluation_sentences(found)),
        figure=_scores(found),
        sections=tuple(Section(name, title, some) for name, title, some in parts if some),
        foot=f"Made by skythaw {version} on {today.isoformat()} from {found['objects']:,} labelled objects.",
        alarms=tuple(found["warnings"]),
    )


def _beside_own(score: Mapping[str, float], own: Mapping[str, float | None]) -> str:
    """How a score is beside that of its own study; nothing where their intervals meet, or one is missing."""
    low, high = own["low"], own["high"]
    if low is not None and score["high"] < low:
        return ": here it does surely worse"
    return ": here it does surely better" if high is not None and score["low"] > high else ""


def _of_class(scores: Mapping[str, Any]) -> str:
    complete, pure = scores["completeness"]["mean"], scores["purity"]["mean"]
    return f"{percent(complete)} of it are found (completeness), and {percent(pure)} of what is called so are (purity)"


def _number(value: Any) -> float:
    return float(value["mean"] if isinstance(value, Mapping) else value)


def _scores(found: Found) -> Chart:
    names = list(found["classes"])
    series = tuple(
        Series(
            label=score,
            x=tuple(float(i + 1) for i in range(len(names))),
            y=tuple(found["classes"][name][score]["mean"] for name in names),
            low=tuple(found["classes"][name][score]["low"] for name in names),
            high=tuple(found["classes"][name][score]["high"] for name in names),
            joined=False,
            notes=tuple(names),
        )
        for score in ("completeness", "purity")
    )
    return Chart(
        name="scores",
        title="Completeness and purity of each class",
        caption="The share of each class that is found, and of what is called so that is right.",
        x_label="class",
        y_label="share",
        series=series,
        bars=INTERVAL,
        x_names=tuple(names),
    )


def _reliability(found: Found) -> Chart:
    bins = found["calibration"]["bins"]
    line = Series(
        label="the classifier",
        x=tuple(each["probability"] for each in bins),
        y=tuple(each["accuracy"] for each in bins),
        low=tuple(each["low"] for each in bins),
        high=tuple(each["high"] for each in bins),
        notes=tuple(f"{each['objects']:.0f} objects" for each in bins),
    )
    return Chart(
        name="reliability",
        title="Do probabilities mean what they say?",
        caption="Objects in bins of the probability of the predicted class. Below the dashed line it is too sure.",
        x_label="probability of the predicted class",
        y_label="share classified rightly",
        series=(line,),
        diagonal=True,
        bars=INTERVAL,
    )


def _gallery(found: Found, images: Mapping[str, bytes]) -> list[Gallery]:
    pictures = tuple(
        Picture(
            images[each["object_id"]],
            f"{each['object_id']}: labelled {each['label']}, predicted {each['predicted']} "
            f"(p = {each['p_predicted']:.2f})",
        )
        for each in found["mistakes"]["listed"]
        if each["object_id"] in images
    )
    return [Gallery("As the network saw them", pictures)] if pictures else []
