"""Figures of scores: against depth, images and cost, and which depths differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skythaw.report.figures.elements import Chart, Heat, Series
from skythaw.report.sentences import Facts, main_choices, percent, with_interval

BARS = "95 % interval"
BARS_OF_SEEDS = "standard deviation over seeds"
RING = "recommended"


def main_chart(facts: Facts) -> Chart:
    """Score against TPR, one line a network (and value of a further axis): the figure of the first screen."""
    main = {(each["backbone"], each["strategy"], each["train_size"]) for each in main_choices(facts)}
    rows = [row for row in facts["rows"] if (row["backbone"], row["strategy"], row["train_size"]) in main]
    return _against(
        {**facts, "rows": rows},
        "score-tpr",
        "Score against the share of parameters that are trained",
        "trained parameters, TPR (%)",
        lambda row: 100 * row["tpr"],
    )


def depth_chart(facts: Facts) -> Chart:
    """Score against depth, as a share of the blocks."""
    return _against(
        facts,
        "score-depth",
        "Score against depth",
        "trained blocks, counted from the top (%)",
        lambda row: 100 * row["depth"] / row["blocks"],
    )


def _against(facts: Facts, name: str, title: str, x_label: str, x: Callable[[dict[str, Any]], float]) -> Chart:
    intervals = facts["method"] is not None
    chosen = {identity_of(facts, choice): choice["depth"] for choice in facts["recommended"]}
    series = []
    for label, rows in lines_of(facts).items():
        rows.sort(key=lambda row: row["depth"])
        best = chosen.get(identity_of(facts, rows[0]))
        low, high = zip(*(_ends(row["macro_f1"]) for row in rows), strict=True)
        series.append(
            Series(
                label=label,
                x=tuple(x(row) for row in rows),
                y=tuple(row["macro_f1"]["mean"] for row in rows),
                low=low,
                high=high,
                marked=tuple(i for i, row in enumerate(rows) if row["depth"] == best),
                notes=tuple(_note(row) for row in rows),
            )
        )
    return Chart(
        name=name,
        title=title,
        caption=(
            "Mean over seeds; at depth 0 the head alone is trained. Depths whose bars overlap may "
            "still differ: they were scored on the same objects."
        ),
        x_label=x_label,
        y_label="macro-F1 on test",
        series=tuple(series),
        ring=RING,
        bars=BARS if intervals else BARS_OF_SEEDS,
    )


def identity_of(facts: Facts, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(row[name]) for name in ("backbone", "strategy", "train_size", *facts["axes"]))


def lines_of(facts: Facts) -> dict[str, list[dict[str, Any]]]:
    """Rows by the label of their line; a setting that is the same everywhere is left out of the labels."""
    names = ("backbone", "strategy", "train_size", *facts["axes"])
    varying = [name for name in names if len({str(row[name]) for row in facts["rows"]}) > 1]
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in facts["rows"]:
        lines.setdefault(", ".join(_say(name, row[name]) for name in varying or ["backbone"]), []).append(row)
    return lines


def _say(name: str, value: Any) -> str:
    if name in ("backbone", "strategy"):
        return str(value)
    return f"{value:,} images" if name == "train_size" else f"{name} {value}"


def _ends(value: dict[str, Any]) -> tuple[float | None, float | None]:
    if value.get("low") is not None:
        return value["low"], value["high"]
    return (None, None) if value["std"] is None else (value["mean"] - value["std"], value["mean"] + value["std"])


def _note(row: dict[str, Any]) -> str:
    return (
        f"{row['depth']} of {row['blocks']} blocks, TPR {percent(row['tpr'])}, TLR {percent(row['tlr'])}: "
        f"{with_interval(row['macro_f1'])}"
    )


def p_value_heat(compared: dict[str, Any], number: int) -> Heat:
    """Which depths of a network differ: Holm's p-values."""
    depths = sorted({each for pair in compared["pairs"] for each in (pair["a"], pair["b"])})
    found = {(pair["a"], pair["b"]): pair["macro_f1"]["p_holm"] for pair in compared["pairs"]}
    values = tuple(tuple(found.get((min(a, b), max(a, b))) for b in depths) for a in depths)
    return Heat(
        name=f"pairs-{number}",
        title=f"{name_of(compared)}: which depths differ",
        caption=(
            "P-values of equal macro-F1, paired on the same objects and corrected for the number of pairs (Holm). "
            "Below 0.05 two depths differ; a large value does not say that they are alike."
        ),
        x_label="depth",
        y_label="depth",
        columns=tuple(map(str, depths)),
        rows=tuple(map(str, depths)),
        values=values,
        form=".3f",
    )


def name_of(compared: dict[str, Any]) -> str:
    """Network, strategy and training size in words."""
    return f"{compared['backbone']}, {compared['train_size']:,} images, strategy {compared['strategy']}"


def size_chart(facts: Facts) -> Chart | None:
    """Score against training images, each network at its recommended depths."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for choice in sorted(facts["recommended"], key=lambda each: each["train_size"]):
        found.setdefault((choice["backbone"], choice["strategy"]), []).append(choice)
    several = {key: some for key, some in found.items() if len(some) > 1}
    if not several:
        return None
    strategies = {strategy for _, strategy in several}
    series = []
    for (backbone, strategy), some in several.items():
        low, high = zip(*(_ends(each["macro_f1"]) for each in some), strict=True)
        label = backbone if len(strategies) == 1 else f"{backbone}, {strategy}"
        notes = tuple(f"{each['train_size']:,} images, depth {each['depth']}" for each in some)
        x, y = (tuple(each["train_size"] for each in some), tuple(each["macro_f1"]["mean"] for each in some))
        series.append(Series(label, x, y, low, high, notes=notes))
    return Chart(
        name="score-images",
        title="Score against training images",
        caption="Macro-F1 on the test set, each network at the depth recommended for that many images.",
        x_label="training images",
        y_label="macro-F1 on test",
        series=tuple(series),
        log_x=True,
        bars=BARS if facts["method"] else BARS_OF_SEEDS,
    )


def pareto_charts(facts: Facts) -> list[Chart]:
    """Score against what a network costs, one chart for each cost."""
    claim = next((each for each in facts["claims"] if each["number"] == 5), None)
    if claim is None or len(claim["numbers"]["networks"]) < 2:
        return []
    networks = claim["numbers"]["networks"]
    charts = []
    for cost, label, unit in (
        ("parameters", "parameters (millions)", 1e6),
        ("file_bytes", "file size (MB)", 1e6),
        ("latency", "milliseconds for one image", 1.0),
    ):
        known = [each for each in networks if each[cost] is not None]
        series = tuple(
            Series(
                label=each["backbone"],
                x=(each[cost] / unit,),
                y=(each["score"]["mean"],),
                low=(each["score"]["low"],),
                high=(each["score"]["high"],),
                marked=(0,) if each["on_front"].get(cost, 0) >= 0.5 else (),
                joined=False,
                notes=(f"on the front in {percent(each['on_front'].get(cost))} of the draws",),
            )
            for each in known
        )
        charts.append(
            Chart(
                name=f"score-{cost.replace('_', '-')}",
                title=f"Score against {label.partition(' (')[0]}",
                caption="Each network at its recommended depth. A ring: none is better and cheaper (in most draws).",
                x_label=label,
                y_label="macro-F1 on test",
                series=series,
                log_x=True,
                ring="on the Pareto front",
                bars=BARS,
            )
        )
    return charts
