"""The tables of a report, from its facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skythaw.report.figures.elements import Table
from skythaw.report.number_format import percent, with_interval
from skythaw.report.page.comparison_tables import compared_table, network_table, probe_table, size_table
from skythaw.report.recommendations import Facts, Recommendation, Row, main_recommendations, network_rows, shown_axes
from skythaw.report.sentences import RATIOS
from skythaw.report.statistics.report_rows import CONTEST
from skythaw.spec import IMAGES

DEPTHS = f"Every depth, on the test set. Low and high are the ends of the 95 % interval of macro-F1. {RATIOS}"


@dataclass(frozen=True)
class ReportTables:
    """All tables, in the order of the page; those of which the facts hold nothing have no rows."""

    networks: Table
    """what is recommended for each network, where there are several"""
    compared: Table
    depths: Table
    probes: Table
    sizes: Table
    claims: Table
    frozen: Table
    own_depths: Table
    peaks: Table
    alarms: Table
    classes: Table
    mistakes: Table
    calibration: Table
    robustness: Table
    early_signs: Table
    trials: Table
    objects: Table
    pairs: Table
    """not on the page"""


def report_tables(facts: Facts) -> ReportTables:
    """Make every table of a report."""
    main = main_recommendations(facts)
    claims = {each["number"]: each["numbers"] for each in facts["claims"]}
    return ReportTables(
        networks=network_table(main),
        compared=compared_table(facts),
        sizes=size_table(facts),
        depths=depth_table(facts),
        probes=probe_table(facts),
        claims=_picked(
            "Six claims", facts["claims"], {"": "number", "claim": "claim", "verdict": "verdict", "why": "why"}
        ),
        frozen=_frozen(claims.get(1) or []),
        own_depths=_own_depths(claims[3]["depths"] if claims else []),
        peaks=_peaks(main),
        alarms=_alarms(facts),
        classes=_classes(main),
        mistakes=_mistakes(facts),
        calibration=_calibration(main),
        robustness=_robustness(main),
        early_signs=_early_signs(main),
        trials=_trials(facts),
        objects=_objects(facts),
        pairs=_pairs(facts),
    )


def depth_table(facts: Facts) -> Table:
    """Every row of the report."""
    axes = shown_axes(facts)
    columns = ("network", "strategy", "images", "depth", "blocks", *axes, "recommended", "macro-F1", "low", "high")
    columns += ("converged", "seeds", "accuracy", "log loss", "TPR (%)", "TLR (%)", "TFR (%)")
    rows = [
        (
            *(row[name] for name in ("network", "strategy", "train_size", "depth", "blocks", *axes)),
            "yes" if chosen else "",
            *(row["macro_f1"][name] for name in ("mean", "low", "high")),
            "yes" if row["converged"] else "NO",
            row["seeds"],
            row["accuracy"]["mean"],
            row["log_loss"]["mean"],
            *(None if row[ratio] is None else 100 * row[ratio] for ratio in ("tpr", "tlr", "tfr")),
            *(row[name] for name in ("peak_epoch", "gap", "seconds")),
        )
        for row, chosen in ordered_rows(facts)
    ]
    return Table(DEPTHS, (*columns, "peak epoch", "gap", "seconds"), tuple(rows))


def ordered_rows(facts: Facts) -> list[tuple[Row, bool]]:
    """The rows by network, strategy, training size, inputs and depth, each with whether it is recommended."""
    names = (*CONTEST, "depth")
    chosen = [[each[name] for name in (*names, *facts["axes"])] for each in facts["recommended"]]
    rows = sorted(network_rows(facts), key=lambda row: tuple(row[n] if n != "inputs" else _place(row) for n in names))
    return [(row, [row[name] for name in (*names, *facts["axes"])] in chosen) for row in rows]


def _place(row: Row) -> tuple[bool, str]:
    """Images alone come first."""
    return row["inputs"] != IMAGES, row["inputs"]


def _picked(caption: str, records: Sequence[dict[str, Any]], names: dict[str, str]) -> Table:
    """A table of records; `names` are those of the records, by the heading of their column."""
    return Table(caption, tuple(names), tuple(tuple(each.get(name) for name in names.values()) for each in records))


def _frozen(compared: Sequence[dict[str, Any]]) -> Table:
    names = {
        "network": "network",
        "best deeper depth": "depth",
        "above depth 0": "difference",
        "low": "low_simultaneous",
        "high": "high_simultaneous",
        "p (corrected)": "p_simultaneous",
        "deeper is better": "better",
        "all alike": "alike",
    }
    return _picked("Against the frozen baseline (macro-F1)", compared, names)


def _own_depths(depths: Sequence[dict[str, Any]]) -> Table:
    rows = tuple(
        (
            each["network"],
            f"{each['depth']} of {each['blocks']}",
            percent(each["tpr"]),
            percent(each["tlr"]),
            ", ".join(f"{one['depth']} ({percent(one['share'])})" for one in each["best_in"] if one["share"] >= 0.01),
        )
        for each in depths
    )
    columns = ("network", "recommended", "TPR", "TLR", "best depth (probability)")
    return Table("The depth of each network, and how sure it is", columns, rows)


def _peaks(main: Sequence[Recommendation]) -> Table:
    rows = tuple(
        (
            each.row["network"],
            each.row["depth"],
            with_interval(each.row["validation_accuracy"]),
            each.row["peak_epoch"],
            each.row["gap"],
            with_interval(each.row["accuracy"]),
            each.row["seconds"],
            each.row["seeds"],
        )
        for each in main
    )
    columns = (
        "network",
        "depth",
        "accuracy on validation",
        "kept epoch",
        "gap",
        "accuracy on test",
        "seconds",
        "seeds",
    )
    return Table("Peaks: validation accuracy, when it was reached, and how far training was ahead", columns, rows)


def _alarms(facts: Facts) -> Table:
    names = {"network": "network", "depth": "depth", "images": "train_size", "seed": "seed", "alarm": "alarm"}
    return _picked("Alarms", facts["alarms"], names)


def _classes(main: Sequence[Recommendation]) -> Table:
    rows = tuple(
        (
            each.row["network"],
            each.row["depth"],
            name,
            *(with_interval(scores[score]) for score in ("precision", "recall", "f1")),
        )
        for each in main
        for name, scores in each.row["per_class"].items()
    )
    columns = ("network", "depth", "class", "precision", "recall", "F1")
    return Table("Scores of each class, on the test set", columns, rows)


def _mistakes(facts: Facts) -> Table:
    listed = facts["failures"]["listed"] if facts["failures"] else []
    names = {
        "object": "object_id",
        "label": "label",
        "predicted": "predicted",
        "p of the label": "p_label",
        "p of the predicted": "p_predicted",
        "suspect label": "suspect",
    }
    return _picked(
        "The surest mistakes", [{**each, "suspect": "yes" if each["suspect"] else ""} for each in listed], names
    )


def _calibration(main: Sequence[Recommendation]) -> Table:
    rows = []
    for each in main:
        if each.comparison and (found := each.comparison["calibration"]):
            before, after = (
                (with_interval(found[when]["ece"]), found[when]["log_loss"]) for when in ("before", "after")
            )
            temperatures = ", ".join(f"{one:.2f}" for one in found["temperatures"])
            rows.append((each.row["network"], each.row["depth"], *before, temperatures, *after))
    columns = ("network", "depth", "ECE", "log loss", "temperatures", "ECE, scaled", "log loss, scaled")
    return Table("Calibration, before and after temperature scaling", columns, tuple(rows))


def _robustness(main: Sequence[Recommendation]) -> Table:
    rows = tuple(
        (each.row["network"], *line) for each in main if each.comparison for line in other_choices(each.comparison)
    )
    return Table("The recommended depth with other choices", ("network", "choice", "then"), rows)


def other_choices(compared: dict[str, Any]) -> list[tuple[str, str]]:
    """For each choice that could have been another, what the recommendation would be then."""
    robust = compared["robust"]
    names = {"log_loss": "smallest mean log loss"}
    metrics = {names.get(name, name.replace("_", " ")): depth for name, depth in robust["metric"].items()}
    seeds = {f"without seed {seed}": depth for seed, depth in robust["seeds"].items()}
    rates = {f"learning rate {rate}": depth for rate, depth in robust["lr"].items()}
    share = next((each["share"] for each in compared["best_in"] if each["depth"] == compared["best"]), 0.0)
    return [
        ("another score", _differing(compared["recommended"], metrics)),
        ("one seed less", _differing(compared["recommended"], seeds) if seeds else "not known: there is one seed"),
        (
            "one learning rate for all",
            _differing(compared["recommended"], rates) if rates else "not known: one rate was tried",
        ),
        (
            "other objects of this sky, other seeds",
            f"depth {compared['best']} is the best with a probability of {percent(share)}",
        ),
        ("another split", "not known: one was tried"),
    ]


def _differing(recommended: int, found: dict[str, int]) -> str:
    others = {name: depth for name, depth in found.items() if depth != recommended}
    if not others:
        return f"the same depth ({recommended}) every time"
    return f"depth {recommended}, but " + ", ".join(f"{depth} ({name})" for name, depth in others.items())


def _early_signs(main: Sequence[Recommendation]) -> Table:
    rows = tuple(
        (each.row["network"], name, sign["correlation"], sign["regret"])
        for each in main
        if each.comparison
        for name, sign in each.comparison["early_signs"].items()
    )
    caption = "Could it have been known earlier? Signs against the test score of the depths"
    return Table(caption, ("network", "sign", "rank correlation", "macro-F1 lost"), rows)


def _trials(facts: Facts) -> Table:
    names = ("strategy", "setting", "fate", "round", "seeds", "images")
    columns = {"network": "backbone", **{name: name for name in names}, "log loss": "log_loss", "macro-F1": "macro_f1"}
    return _picked("The search, round by round", facts["search"] or [], columns)


def _objects(facts: Facts) -> Table:
    balance = facts["data"]["balance"]
    if not balance:
        return Table("Objects", ("part", "objects"), tuple((facts["objects"] or {}).items()))
    rows = tuple((part, *counts.values(), sum(counts.values())) for part, counts in balance.items())
    return Table("Objects of each class", ("part", *facts["classes"], "all"), rows)


def _pairs(facts: Facts) -> Table:
    alone = ("low", "high", "p")
    names = ("difference", *alone, *(f"{name}_simultaneous" for name in alone))
    rows = tuple(
        (
            *(each[name] for name in ("network", "strategy", "train_size", "inputs")),
            *(pair["a"], pair["b"]),
            *(pair["macro_f1"][name] for name in names),
        )
        for each in facts["comparisons"]
        for pair in each["pairs"]
    )
    corrected = tuple(f"{name} (corrected)" for name in alone)
    columns = ("network", "strategy", "images", "inputs", "a", "b", "b less a", *alone, *corrected)
    return Table("Pairs of depths: difference in macro-F1 on the same objects", columns, rows)
