"""Figures of how networks learn and where they fail."""

from __future__ import annotations

from typing import Any

from skythaw.report.figures.elements import Chart, Heat, Series
from skythaw.report.figures.score_figures import BARS, identity_of, lines_of
from skythaw.report.sentences import Facts, comparison_of, main_choices, row_of


def gap_chart(facts: Facts) -> Chart:
    """How much better networks do on what they were trained on."""
    series = tuple(
        Series(
            label=label,
            x=tuple(100 * row["depth"] / row["blocks"] for row in sorted(rows, key=_depth)),
            y=tuple(row["gap"] for row in sorted(rows, key=_depth)),
        )
        for label, rows in lines_of(facts).items()
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


def learning_chart(facts: Facts) -> Chart | None:
    """Validation scores by epoch, each network at its recommended depth and at depth 0."""
    series = []
    for choice in main_choices(facts):
        for row in facts["rows"]:
            same = identity_of(facts, row) == identity_of(facts, choice)
            curve = row["curves"].get("macro_f1", [])
            if same and row["depth"] in (0, choice["depth"]) and curve:
                epochs = tuple(float(i + 1) for i in range(len(curve)))
                series.append(Series(f"{row['backbone']}, depth {row['depth']}", epochs, tuple(curve)))
    if not series:
        return None
    return Chart(
        name="learning",
        title="Validation by epoch",
        caption="Macro-F1 on validation, mean over seeds, of the recommended depth and of the head alone.",
        x_label="epoch",
        y_label="macro-F1 on validation",
        series=tuple(series),
    )


def _depth(row: dict[str, Any]) -> int:
    depth: int = row["depth"]
    return depth


def confusion_heats(facts: Facts) -> list[Heat]:
    """What each class was taken for, each network at its recommended depth."""
    heats = []
    for i, choice in enumerate(main_choices(facts)):
        row = row_of(facts, choice)
        if not row["confusion"]:
            continue
        values = tuple(tuple(value / max(sum(line), 1e-9) for value in line) for line in row["confusion"])
        heats.append(
            Heat(
                name=f"confusion-{i}",
                title=f"{choice['backbone']}, depth {choice['depth']}: what each class was taken for",
                caption="Shares of the objects of each true class, mean over seeds; the diagonal is recall.",
                x_label="predicted",
                y_label="true class",
                columns=tuple(facts["classes"]),
                rows=tuple(facts["classes"]),
                values=values,
            )
        )
    return heats


def reliability_charts(facts: Facts) -> list[Chart]:
    """Accuracy against the probability that was given, before and after temperature scaling."""
    charts = []
    for i, choice in enumerate(main_choices(facts)):
        compared = comparison_of(facts, choice)
        if not compared or not compared["calibration"]:
            continue
        series = tuple(
            Series(
                label=label,
                x=tuple(each["probability"] for each in bins),
                y=tuple(each["accuracy"] for each in bins),
                low=tuple(each["low"] for each in bins),
                high=tuple(each["high"] for each in bins),
                notes=tuple(f"{each['objects']:.0f} objects" for each in bins),
            )
            for label, bins in (
                ("as trained", compared["calibration"]["before"]["bins"]),
                ("temperature scaled", compared["calibration"]["after"]["bins"]),
            )
        )
        charts.append(
            Chart(
                name=f"reliability-{i}",
                title=f"{choice['backbone']}, depth {choice['depth']}: do probabilities mean what they say?",
                caption=(
                    "Objects in bins of the probability given to the predicted class. On the dashed line, of the "
                    "objects with p = 0.8 four in five are right; below it the network is too sure of itself."
                ),
                x_label="probability of the predicted class",
                y_label="share classified rightly",
                series=series,
                diagonal=True,
                bars=BARS,
            )
        )
    return charts


def error_charts(facts: Facts) -> list[Chart]:
    """Error rate against every column of numbers."""
    failures = facts["failures"] or {"columns": []}
    charts = []
    for i, each in enumerate(failures["columns"]):
        bins = each["bins"]
        charts.append(
            Chart(
                name=f"errors-{i}",
                title=f"Errors against {each['column']}",
                caption=f"{each['objects']:,} test objects in bins of about equally many, at the middle of each.",
                x_label=each["column"],
                y_label="share classified wrongly",
                series=(
                    Series(
                        label=f"{failures['backbone']}, depth {failures['depth']}",
                        x=tuple((one["from"] + one["to"]) / 2 for one in bins),
                        y=tuple(one["error"] for one in bins),
                        low=tuple(one["low"] for one in bins),
                        high=tuple(one["high"] for one in bins),
                        notes=tuple(f"{one['from']:g} to {one['to']:g}, {one['objects']} objects" for one in bins),
                    ),
                ),
                bars=BARS,
            )
        )
    return charts
