"""Figures of how networks learn and where they fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skythaw.report.figures.elements import INTERVAL, Chart, HeatMap, Series
from skythaw.report.recommendations import Recommendation, Row

CELL_CURVES = (
    ("scores", "Scores by epoch", "score", (("macro_f1", "macro-F1 on validation"),
     ("accuracy", "accuracy on validation"), ("train_accuracy", "accuracy on training"))),
    ("losses", "Log loss by epoch", "log loss", (("log_loss", "on validation"), ("train_loss", "on training"))),
)  # fmt: skip
"""of each chart of a cell: name, title, label, and what its lines are"""


def learning_chart(rows: Sequence[Row], main: Sequence[Recommendation]) -> Chart | None:
    """Validation scores by epoch, each network at its recommended depth and at depth 0; None where there are none."""
    series = [
        _by_epoch(f"{row['backbone']}, depth {row['depth']}", curve)
        for each in main
        for row in rows
        if each.differs_in_depth_alone(row) and row["depth"] in (0, each.row["depth"])
        if (curve := row["curves"].get("macro_f1"))
    ]
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


def cell_charts(curves: Sequence[Mapping[str, float]], kept: int | None) -> list[Chart]:
    """How one cell trained: its scores and its losses by epoch.

    Parameters
    ----------
    curves
        of its result: one entry an epoch
    kept
        the epoch whose weights were kept, counted from 1
    """
    charts = []
    for name, title, label, lines in CELL_CURVES:
        series = tuple(
            _by_epoch(what, [each.get(score) for each in curves], kept)
            for score, what in lines
            if any(each.get(score) is not None for each in curves)
        )
        if series:
            caption = f"{title}; a ring marks the epoch whose weights were kept."
            charts.append(Chart(name, title, caption, "epoch", label, series, ring="the epoch that was kept"))
    return charts


def _by_epoch(label: str, values: Sequence[float | None], kept: int | None = None) -> Series:
    epochs = tuple(float(i + 1) for i in range(len(values)))
    marked = (kept - 1,) if kept and kept <= len(values) else ()
    return Series(label, epochs, tuple(values), marked=marked)


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


def confusion_map(row: Row, classes: Sequence[str], number: int) -> HeatMap:
    """What each class was taken for."""
    return HeatMap(
        name=f"confusion-{number}",
        title=f"{row['backbone']}, depth {row['depth']}: what each class was taken for",
        caption="Shares of the objects of each true class, mean over seeds; the diagonal is recall.",
        x_label="predicted",
        y_label="true class",
        columns=tuple(classes),
        rows=tuple(classes),
        values=tuple(tuple(count / max(sum(counts), 1e-9) for count in counts) for counts in row["confusion"]),
    )


def error_charts(failures: Mapping[str, Any]) -> list[Chart]:
    """Error rate against every column of numbers."""
    label = f"{failures['backbone']}, depth {failures['depth']}"
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
        title=f"{compared['backbone']}, depth {compared['recommended']}: do probabilities mean what they say?",
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
