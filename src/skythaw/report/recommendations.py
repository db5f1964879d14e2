"""The recommendations of a report, each with its row of the table and the comparison of depths behind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from skythaw.report.statistics.report_rows import CONTEST
from skythaw.spec import IMAGES

Facts = dict[str, Any]
"""What `skythaw.report.report_facts.report_facts` gives."""
Row = dict[str, Any]
"""One of the facts' ``rows``."""


@dataclass(frozen=True)
class Recommendation:
    """The depth that is recommended for one network, strategy and training size."""

    choice: dict[str, Any]
    """of the facts' ``recommended``"""
    row: Row
    comparison: dict[str, Any] | None
    """of the facts' ``comparisons``; None where there were no predictions to compare"""
    axes: tuple[str, ...]
    """the study's further axes"""


def recommendations(facts: Facts) -> list[Recommendation]:
    """All of them, in the order of the facts."""
    axes = tuple(facts["axes"])
    return [
        Recommendation(
            choice,
            next(row for row in network_rows(facts) if _alike(row, choice, (*CONTEST, "depth", *axes))),
            next((each for each in facts["comparisons"] if _alike(each, choice, CONTEST)), None),
            axes,
        )
        for choice in facts["recommended"]
    ]


def on_validation(row: Row) -> float:
    """What decides between networks, each at its recommended depth: mean macro-F1 on validation.

    Depths are compared on the test set, and the report corrects for that; networks are a setting like any other.
    """
    return float(row["validation_macro_f1"]["mean"])


def speaks_first(seeds: int, train_size: int, validation: float) -> tuple[bool, int, float]:
    """What decides which network speaks for a study; the larger is preferred.

    Several seeds before one, for a lucky seed must not beat a mean; more training images before fewer; then the score
    on validation.
    """
    return seeds > 1, train_size, validation


def _first(row: Row) -> tuple[bool, int, float]:
    return speaks_first(row["seeds"], row["train_size"], on_validation(row))


def best_of(rows: Iterable[Row]) -> Row:
    """Of the rows that are recommended for the networks, that which speaks for the study."""
    return max(rows, key=_first)


def network_rows(facts: Facts) -> list[Row]:
    """The rows that have a network."""
    return [row for row in facts["rows"] if row["inputs"] != "table"]


def shown_axes(facts: Facts) -> list[str]:
    """The further axes of a study, and the inputs where they are not images everywhere."""
    both = any(row["inputs"] != IMAGES for row in network_rows(facts))
    return [*facts["axes"], *(["inputs"] if both else [])]


def main_recommendations(facts: Facts) -> list[Recommendation]:
    """For each network the one that is said first."""
    return [each for each in recommendations(facts) if each.choice["main"]]


def _alike(one: dict[str, Any], other: dict[str, Any], names: tuple[str, ...]) -> bool:
    return all(one[name] == other[name] for name in names)
