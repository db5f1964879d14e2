"""Tables of what was reached without a network, and of what numbers add to one."""

from __future__ import annotations

from typing import Any

from skythaw.report.figures.elements import Table
from skythaw.report.number_format import points, points_range, with_interval
from skythaw.report.number_sentences import together
from skythaw.report.recommendations import Facts

ALONE = ("images alone", "numbers alone", "both")
ABOVE = ("both above images (points)", "both above numbers (points)")


def control_table(facts: Facts) -> Table:
    """The control of each training size, and the best network with as many images."""
    rows = tuple(
        (
            row["train_size"],
            with_interval(row["macro_f1"]),
            *((f"{n['network']}, depth {n['depth']}", _gain(together(n))) if (n := row["network"]) else (None, None)),
        )
        for row in facts["control"]
    )
    columns = ("images", "macro-F1 of the control", "best network", "above the control (points)")
    return Table("The control: a forest on numbers measured from the same images, as it comes", columns, rows)


def inputs_table(facts: Facts) -> Table:
    """Images alone, numbers alone and both."""
    rows = tuple(
        (
            *(each[name] for name in ("network", "strategy", "train_size", "inputs")),
            *(with_interval(each["macro_f1"][name]) for name in ("images", "table", "both")),
            *(_gain(together(_pair(each, other))) for other in ("images", "table")),
            f"{each['depths']['images']} / {each['depths']['both']}",
        )
        for each in facts["inputs"]
    )
    columns = ("network", "strategy", "images", "inputs", *ALONE, *ABOVE, "depth alone / both")
    return Table("What numbers beside the images add (macro-F1)", columns, rows)


def class_table(facts: Facts) -> Table:
    """The same for each class, the rarest first."""
    rows = tuple(
        (
            each["network"],
            each["train_size"],
            one["class"],
            one["objects"],
            *(round(one["f1"][name], 3) for name in ("images", "table", "both")),
            *(_gain(together(_pair(one, other))) for other in ("images", "table")),
        )
        for each in facts["inputs"]
        for one in each["classes"]
    )
    columns = ("network", "images", "class", "test objects", *ALONE, *ABOVE)
    return Table("F1 class by class, the rarest first", columns, rows)


def class_pair_table(facts: Facts) -> Table:
    """Every two classes alone."""
    rows = tuple(
        (
            each["network"],
            each["train_size"],
            " against ".join(one["classes"]),
            *(round(one["right"][name], 3) for name in ("images", "table", "both")),
            *(_gain(together(pair)) for pair in one["pairs"]),
        )
        for each in facts["inputs"]
        for one in each["class_pairs"]
    )
    columns = ("network", "images", "classes", *ALONE, *ABOVE)
    return Table("Two classes alone: the share told rightly, mean of both classes", columns, rows)


def _pair(each: dict[str, Any], other: str) -> dict[str, Any]:
    return next(pair for pair in each["pairs"] if (pair["first"], pair["second"]) == ("both", other))


def _gain(gain: dict[str, Any]) -> str:
    return f"{points(gain['difference'])} ({points_range(gain)})"
