"""Tables of what was compared: networks, depths, and numbers of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skythaw.report.choice import above_frozen, may_be_best
from skythaw.report.figures.elements import Table
from skythaw.report.number_format import listed_depths, percent, points, points_range, rounded, with_interval
from skythaw.report.recommendations import Facts, Recommendation, recommendations, shown_axes


def network_table(main: Sequence[Recommendation]) -> Table:
    """What is recommended for each network; no rows where there is one, of which the answer speaks."""
    rows = tuple(
        (
            each.row["network"],
            each.row["strategy"],
            each.row["train_size"],
            f"{each.row['depth']} of {each.row['blocks']}",
            percent(each.row["tpr"]),
            percent(each.row["tlr"]),
            with_interval(each.row["macro_f1"]),
            "-" if (above := above_frozen(each)) is None else f"{points(above['difference'])} ({points_range(above)})",
            ", ".join(map(str, may_be_best(each))) or "-",
        )
        for each in main
    )
    columns = ("network", "strategy", "images", "train", "TPR", "TLR", "macro-F1", "above frozen", "may be best")
    caption = "Each network: blocks to train, macro-F1, and points of it above the frozen network"
    return Table(caption, columns, rows if len(rows) > 1 else ())


def compared_table(facts: Facts) -> Table:
    """For each network, strategy and number of images: which depths may be the best, and what would tell."""
    inputs = [name for name in shown_axes(facts) if name == "inputs"]
    rows = tuple(
        (
            *(each.row[name] for name in ("network", "strategy", "train_size", *inputs)),
            each.comparison["best"],
            each.row["depth"],
            ", ".join(map(str, may_be_best(each))),
            _takes(each.comparison),
            each.comparison["nested"]["depth"],
            *(with_interval(each.comparison["nested"][score]) for score in ("macro_f1", "accuracy")),
        )
        for each in recommendations(facts)
        if each.comparison and len(each.comparison["best_in"]) > 1
    )
    columns = ("network", "strategy", "images", *inputs, "best depth", "recommended", "may be best")
    columns += ("to tell them it takes",)
    caption = (
        "Which depths may be the best. Validation alone would choose the last depth; the test set had no part in that "
        "choice, so its scores are fair"
    )
    return Table(caption, (*columns, "validation's choice", "its macro-F1", "its accuracy"), rows)


def _takes(compared: Mapping[str, Any]) -> str | None:
    """Which study would tell the depth that seems furthest behind the best of those that can't be told from it."""
    if not compared["alike"]:
        return None
    widest = max(compared["alike"], key=lambda each: each["behind"]["difference"])
    if widest["objects_needed"] is None:
        return "can't be told"
    return f"{rounded(widest['objects_needed'])} objects, {widest['seeds_needed']} seeds"


def size_table(facts: Facts) -> Table:
    """What twice the images would give, where a law could be fitted."""
    rows = tuple(
        (
            curve["network"],
            curve["strategy"],
            curve["twice"],
            with_interval(curve["macro_f1"]),
            points_range(curve["gain"]),
            with_interval(curve["exponent"], ".2f"),
            with_interval(curve["floor"]),
        )
        for curve in facts["size_curves"]
    )
    columns = ("network", "strategy", "images", "macro-F1", "change (points)", "exponent", "floor of the error")
    return Table("Twice the images, by a power law with a floor through the sizes of the study", columns, rows)


def probe_table(facts: Facts) -> Table:
    """The linear probe of each network and number of images."""
    rows = tuple(
        (each["network"], each["train_size"], with_interval(each["macro_f1"]), with_interval(each["accuracy"]))
        for each in facts["probes"]
    )
    caption = "The linear probe solved exactly: what depth 0 comes to without a learning rate"
    return Table(caption, ("network", "images", "macro-F1", "accuracy"), rows)


def weights_table(facts: Facts) -> Table:
    """Several weights of one network: what each reaches at its best depth, and frozen."""
    rows = tuple(
        (
            found["backbone"],
            each["weights"],
            each["depth"],
            each["blocks"],
            listed_depths(each["set"]),
            with_interval(each["macro_f1"]),
            with_interval(each["frozen"]) if each["frozen"] else None,
        )
        for found in facts["weights"]
        for each in found["weights"]
    )
    columns = ("backbone", "weights", "depth", "blocks", "may be best", "macro-F1", "macro-F1 left frozen")
    return Table("Several weights of one network, each at its recommended depth", columns, rows)
