"""Figures of what networks learned: how far they overfit, and where they fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skythaw.report.figures.elements import INTERVAL, Chart, HeatMap, Series
from skythaw.report.recommendations import Row


def gap_chart(lines: Mapping[str, list[Row]]) -> Chart:
    """How much better networks do on what they were trained on.

    Parameters
    ----------
    lines
        rows by the label of their line, the shallowest first
    """
    series = tuple(
        Series(
            label=label,
            x=tuple(100 * row["depth"] / row["blocks"] for row in rows),
            y=tuple(row["gap"] for row in rows),
        )
        for label, rows in lines.items()
    )
    return Chart(
        name="gap",
        title="Training less validation",
        caption="Macro-F1 on training less macro-F1 on validation, at the kept epoch: how far a network overfits.",
        x_label="trained blocks, counted from the top (%)",
        y_label="macro-F1, training less validation",
        series=series,
        level=0.0,
    )


def class_chart(choice: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]) -> Chart | None:
    """How pure each class is where it is so complete; None where there are no predictions."""
    if not classes:
        return None
    lines = tuple(Series(each["class"], tuple(each["completeness"]), tuple(each["purity"])) for each in classes)
    points = Series(
        "as predicted",
        tuple(each["as_predicted"]["completeness"] for each in classes),
        tuple(each["as_predicted"]["purity"] for each in classes),
        joined=False,
        notes=tuple(f"{each['class']}: the objects whose most probable class it is" for each in classes),
    )
    return Chart(
        name="completeness-purity",
        title=f"{choice['network']}, depth {choice['depth']}: completeness and purity of each class",
        caption=(
            "Take the objects whose probability of a class is above some value. Completeness (recall) is the share of "
            "the class that is among them, purity (precision) the share of them that are of the class. Mean over seeds."
        ),
        x_label="completeness (recall)",
        y_label="purity (precision)",
        series=(*lines, points),
    )


def confusion_map(row: Row, classes: Sequence[str], number: int) -> HeatMap:
    """What each class was taken for."""
    return HeatMap(
        name=f"confusion-{number}",
        title=f"{row['network']}, depth {row['depth']}: what each class was taken for",
        caption="Shares of the objects of each true class, mean over seeds; the diagonal is recall.",
        x_label="predicted",
        y_label="true class",
        columns=tuple(classes),
        rows=tuple(classes),
        values=tuple(tuple(count / max(sum(counts), 1e-9) for count in counts) for counts in row["confusion"]),
    )


def error_charts(failures: Mapping[str, Any]) -> list[Chart]:
    """Error rate against every column of numbers."""
    label = f"{failures['network']}, depth {failures['depth']}"
    return [
        Chart(
            name=f"errors-{i}",
            title=f"Errors against {each['column']}",
            caption=f"{each['objects']:,} test objects in bins of about equally many, at the middle of each.",
            x_label=each["column"],
            y_label="share classified wrongly",
            series=(_error_rate(label, each["bins"]),),
            bars=INTERVAL,
        )
        for i, each in enumerate(failures["columns"])
    ]


def _error_rate(label: str, bins: Sequence[Mapping[str, float]]) -> Series:
    return Series(
        label=label,
        x=tuple((each["from"] + each["to"]) / 2 for each in bins),
        y=tuple(each["error"] for each in bins),
        low=tuple(each["low"] for each in bins),
        high=tuple(each["high"] for each in bins),
        notes=tuple(f"{each['from']:g} to {each['to']:g}, {each['objects']} objects" for each in bins),
    )


def reliability_chart(compared: Mapping[str, Any], number: int) -> Chart:
    """Accuracy against the probability that was given, before and after temperature scaling."""
    found = compared["calibration"]
    return Chart(
        name=f"reliability-{number}",
        title=f"{compared['network']}, depth {compared['recommended']}: do probabilities mean what they say?",
        caption=(
            "Objects in bins of the probability given to the predicted class. On the dashed line, four in five of the "
            "objects with p = 0.8 are classified rightly; below it the network is too sure of itself."
        ),
        x_label="probability of the predicted class",
        y_label="share classified rightly",
        series=(
            _accuracy("as trained", found["before"]["bins"]),
            _accuracy("temperature scaled", found["after"]["bins"]),
        ),
        diagonal=True,
        bars=INTERVAL,
    )


def _accuracy(label: str, bins: Sequence[Mapping[str, float]]) -> Series:
    return Series(
        label=label,
        x=tuple(each["probability"] for each in bins),
        y=tuple(each["accuracy"] for each in bins),
        low=tuple(each["low"] for each in bins),
        high=tuple(each["high"] for each in bins),
        notes=tuple(f"{each['objects']:.0f} objects" for each in bins),
    )
