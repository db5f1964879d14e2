"""The figures of a report, described once from its facts; plotly and matplotlib draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skythaw.report.figures.elements import Chart, HeatMap
from skythaw.report.figures.learning_figures import (
    class_chart,
    confusion_map,
    error_charts,
    gap_chart,
    reliability_chart,
)
from skythaw.report.figures.score_figures import depth_chart, p_value_map, pareto_charts, ratio_chart, size_chart
from skythaw.report.figures.training_figures import training_charts
from skythaw.report.recommendations import Facts, Row, main_recommendations, network_rows
from skythaw.report.statistics.report_rows import CONTEST


@dataclass(frozen=True)
class ReportFigures:
    """All figures, in the order of the page; what the facts do not hold is None or empty."""

    ratio: Chart
    """score against the share of parameters trained: the figure of the first screen"""
    depth: Chart
    pairs: tuple[HeatMap, ...]
    pareto: tuple[Chart, ...]
    size: Chart | None
    learning: tuple[Chart, ...]
    gap: Chart
    classes: Chart | None
    confusion: tuple[HeatMap, ...]
    errors: tuple[Chart, ...]
    reliability: tuple[Chart, ...]


def report_figures(facts: Facts) -> ReportFigures:
    """Describe every figure of a report.

    Parameters
    ----------
    facts
        of the report; at least one row
    """
    main = main_recommendations(facts)
    speaking = [row for row in network_rows(facts) if any(_same_contest(row, each.row) for each in main)]
    compared = [each.comparison for each in main if each.comparison]
    every = _lines(facts, network_rows(facts))
    return ReportFigures(
        ratio=ratio_chart(facts, _lines(facts, speaking)),
        depth=depth_chart(facts, every),
        pairs=tuple(p_value_map(each, i) for i, each in enumerate(compared) if len(each["pairs"]) > 1),
        pareto=tuple(pareto_charts(facts)),
        size=size_chart(facts),
        learning=tuple(training_charts(facts["choice"], facts["training"])),
        gap=gap_chart(every),
        classes=class_chart(facts["choice"], facts["completeness_and_purity"]),
        confusion=tuple(
            confusion_map(each.row, facts["classes"], i) for i, each in enumerate(main) if each.row["confusion"]
        ),
        errors=tuple(error_charts(facts["failures"])) if facts["failures"] else (),
        reliability=tuple(
            reliability_chart(each.comparison, i)
            for i, each in enumerate(main)
            if each.comparison and each.comparison["calibration"]
        ),
    )


def _same_contest(one: Row, other: Row) -> bool:
    return all(one[name] == other[name] for name in CONTEST)


def _lines(facts: Facts, rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by the label of their line, the shallowest first.

    A setting that is the same everywhere is left out of the labels.
    """
    names = (*CONTEST, *facts["axes"])
    varying = [name for name in names if len({str(row[name]) for row in rows}) > 1]
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(", ".join(_setting(name, row[name]) for name in varying or ["network"]), []).append(row)
    return {label: sorted(some, key=lambda row: row["depth"]) for label, some in lines.items()}


def _setting(name: str, value: Any) -> str:
    if name in ("network", "strategy"):
        return str(value)
    return f"{value:,} images" if name == "train_size" else f"{name} {value}"
