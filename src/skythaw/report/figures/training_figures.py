"""Figures of how cells trained: scores and losses against steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skythaw.report.figures.elements import Chart, Series

CELL_CURVES = (
    ("scores", "Scores", "score", (("macro_f1", "macro-F1 on validation"),
     ("accuracy", "accuracy on validation"), ("train_accuracy", "accuracy on training"))),
    ("losses", "Log loss", "log loss", (("log_loss", "on validation"), ("train_loss", "on training"))),
)  # fmt: skip
"""of each chart of a cell: name, title, label, and what its lines are"""
CHOICE_CURVES = (
    ("learning", "macro-F1 on validation", "macro-F1 on validation", (("macro_f1", "validation"),)),
    ("losses", "log loss", "log loss", (("log_loss", "validation"), ("train_loss", "training"))),
)
"""the same of the cells of the choice"""
KEPT = "the weights that were kept"


def training_charts(choice: Mapping[str, Any] | None, training: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """How the cells of the choice trained, a line for each seed; no chart where there are no curves.

    Parameters
    ----------
    choice, training
        of the facts of a report
    """
    if choice is None:
        return []
    unit = "step" if all(each["step"] for each in training) else "epoch"
    unfinished = [
        f"seed {each['seed']} ({'; '.join(each['not_converged'])})" for each in training if each["not_converged"]
    ]
    remark = f" Not converged: {', '.join(unfinished)}." if unfinished else ""
    charts = []
    for name, what, label, scores in CHOICE_CURVES:
        series = tuple(
            _line(
                f"seed {each['seed']}, {where}"
                + (", NOT CONVERGED" if each["not_converged"] and where == "validation" else ""),
                each,
                score,
                unit,
            )
            for score, where in scores
            for each in training
            if any(value is not None for value in each[score])
        )
        if series:
            title = f"{choice['network']}, depth {choice['depth']}: {what} while it trained"
            caption = f"One line for each seed.{remark}"
            charts.append(Chart(name, title, caption, _axis(unit), label, series, ring=KEPT))
    return charts


def cell_charts(curve: Mapping[str, Any]) -> list[Chart]:
    """How one cell trained: its scores and its losses.

    Parameters
    ----------
    curve
        of `skythaw.report.statistics.chosen_cells.cell_curve`
    """
    unit = "step" if curve["step"] else "epoch"
    remark = f" Not converged: {'; '.join(curve['not_converged'])}." if curve["not_converged"] else ""
    charts = []
    for name, title, label, lines in CELL_CURVES:
        series = tuple(
            _line(what, curve, score, unit) for score, what in lines if any(v is not None for v in curve[score])
        )
        if series:
            caption = f"{title} while it trained; a ring marks {KEPT}.{remark}"
            charts.append(Chart(name, title, caption, _axis(unit), label, series, ring=KEPT))
    return charts


def _axis(unit: str) -> str:
    return "training steps" if unit == "step" else "epoch"


def _line(label: str, curve: Mapping[str, Any], score: str, unit: str) -> Series:
    marked = () if curve["kept"] is None else (curve["kept"],)
    return Series(label, tuple(map(float, curve[unit])), tuple(curve[score]), marked=marked)
