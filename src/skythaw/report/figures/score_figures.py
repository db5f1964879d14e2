"""Figures of scores: against depth, images and cost, and which depths differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skythaw.report.figures.elements import INTERVAL, Chart, HeatMap, Series
from skythaw.report.number_format import percent, with_interval
from skythaw.report.recommendations import Facts, Row
from skythaw.report.statistics.report_rows import CONTEST

STANDARD_DEVIATION = "standard deviation over seeds"
COSTS = (
    ("parameters", "parameters (millions)", 1e6),
    ("file_bytes", "file size (MB)", 1e6),
    ("latency", "milliseconds for one image", 1.0),
)
"""name in the facts, label, unit"""


def ratio_chart(facts: Facts, lines: Mapping[str, list[Row]]) -> Chart:
    """Score against the share of parameters trained: the figure of the first screen.

    Parameters
    ----------
    facts
        of the report
    lines
        rows by the label of their line, the shallowest first
    """
    return _against(
        ("score-tpr", "Score against the share of parameters trained"),
        ("share of parameters trained, TPR (%)", lambda row: 100 * row["tpr"]),
        facts,
        lines,
    )


def depth_chart(facts: Facts, lines: Mapping[str, list[Row]]) -> Chart:
    """Score against depth, as a share of the blocks."""
    return _against(
        ("score-depth", "Score against depth"),
        ("trained blocks, counted from the top (%)", lambda row: 100 * row["depth"] / row["blocks"]),
        facts,
        lines,
    )


def _against(
    name: tuple[str, str], x: tuple[str, Callable[[Row], float]], facts: Facts, lines: Mapping[str, list[Row]]
) -> Chart:
    axes = facts["axes"]
    chosen = {_identity(each, axes) for each in facts["recommended"]}
    series = []
    for label, rows in lines.items():
        low, high = zip(*(_ends(row["macro_f1"]) for row in rows), strict=True)
        series.append(
            Series(
                label=label,
                x=tuple(x[1](row) for row in rows),
                y=tuple(row["macro_f1"]["mean"] for row in rows),
                low=low,
                high=high,
                marked=tuple(i for i, row in enumerate(rows) if _identity(row, axes) in chosen),
                notes=tuple(_note(row) for row in rows),
                dots=tuple(_seeds(row) for row in rows) if any(row["seeds"] > 1 for row in rows) else (),
            )
        )
    series += _controls(facts, {row["train_size"] for rows in lines.values() for row in rows})
    return Chart(
        name=name[0],
        title=name[1],
        caption=(
            "Mean over seeds; small dots are single seeds. At depth 0 the head alone is trained. Depths whose bars "
            "overlap may still differ: they were scored on the same objects."
        ),
        x_label=x[0],
        y_label="macro-F1 on test",
        series=tuple(series),
        ring="recommended",
        bars=INTERVAL if facts["method"] else STANDARD_DEVIATION,
    )


def _controls(facts: Facts, sizes: set[int]) -> list[Series]:
    """The control of each training size: a level line, for it has no depth."""
    found = []
    for row in facts["control"]:
        if row["train_size"] in sizes:
            images = f", {row['train_size']:,} images" if len(sizes) > 1 else ""
            mean, (low, high) = row["macro_f1"]["mean"], _ends(row["macro_f1"])
            label = f"control: forest on {row['numbers']} numbers{images}"
            found.append(Series(label, (0.0, 100.0), (mean, mean), (low, low), (high, high)))
    return found


def _identity(row: Row, axes: list[str]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in (*CONTEST, "depth", *axes))


def _ends(score: dict[str, Any]) -> tuple[float | None, float | None]:
    if score.get("low") is not None:
        return score["low"], score["high"]
    return (None, None) if score["std"] is None else (score["mean"] - score["std"], score["mean"] + score["std"])


def _seeds(row: Row) -> tuple[float, ...]:
    return tuple(each["macro_f1"] for each in row["by_seed"])


def _note(row: Row) -> str:
    unfinished = "NOT CONVERGED; " if row.get("converged") is False else ""
    return unfinished + (
        f"{row['depth']} of {row['blocks']} blocks: {percent(row['tpr'])} of the parameters and "
        f"{percent(row['tlr'])} of the layers; macro-F1 {with_interval(row['macro_f1'])}"
    )


def p_value_map(compared: dict[str, Any], number: int) -> HeatMap:
    """Which depths of a network differ: corrected p-values."""
    depths = sorted({each for pair in compared["pairs"] for each in (pair["a"], pair["b"])})
    found = {(pair["a"], pair["b"]): pair["macro_f1"]["p_simultaneous"] for pair in compared["pairs"]}
    return HeatMap(
        name=f"pairs-{number}",
        title=f"{compared['network']}, {compared['train_size']:,} images, strategy {compared['strategy']}: "
        "which depths differ",
        caption=(
            "P-values of equal macro-F1, paired on the same objects and corrected for the number of pairs. "
            "Below 0.05 two depths differ; a large value does not say that they are alike."
        ),
        x_label="depth",
        y_label="depth",
        columns=tuple(map(str, depths)),
        rows=tuple(map(str, depths)),
        values=tuple(tuple(found.get((min(a, b), max(a, b))) for b in depths) for a in depths),
        form=".3f",
    )


def pareto_charts(facts: Facts) -> list[Chart]:
    """Score against what a network costs, one chart for each cost."""
    claim = next((each for each in facts["claims"] if each["number"] == 5), None)
    if claim is None or len(claim["numbers"]["networks"]) < 2:
        return []
    networks = claim["numbers"]["networks"]
    return [
        Chart(
            name=f"score-{cost.replace('_', '-')}",
            title=f"Score against {label.partition(' (')[0]}",
            caption="Each network at its recommended depth. A ring: in most draws no network is better and cheaper.",
            x_label=label,
            y_label="macro-F1 on test",
            series=tuple(_point(each, cost, unit) for each in networks if each[cost] is not None),
            log_x=True,
            ring="on the Pareto front",
            bars=INTERVAL,
        )
        for cost, label, unit in COSTS
    ]


def _point(network: dict[str, Any], cost: str, unit: float) -> Series:
    share = network["on_front"].get(cost)
    return Series(
        label=network["network"],
        x=(network[cost] / unit,),
        y=(network["score"]["mean"],),
        low=(network["score"]["low"],),
        high=(network["score"]["high"],),
        marked=(0,) if (share or 0) >= 0.5 else (),
        joined=False,
        notes=(f"on the front in {percent(share)} of the draws",),
    )


def size_chart(facts: Facts) -> Chart | None:
    """Score against training images, each network at its recommended depths; None of a single size."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for choice in sorted(facts["recommended"], key=lambda each: each["train_size"]):
        found.setdefault(tuple(choice[name] for name in ("network", "strategy", "inputs")), []).append(choice)
    several = {key: some for key, some in found.items() if len(some) > 1}
    if not several:
        return None
    varying = [len({key[i] for key in several}) > 1 for i in range(3)]
    series = [
        _without_network(label, some)
        for label, some in (("control: forest on measured numbers", facts["control"]), ("numbers alone", _table(facts)))
        if some
    ]
    for key, some in several.items():
        low, high = zip(*(_ends(each["macro_f1"]) for each in some), strict=True)
        series.append(
            Series(
                label=", ".join([key[0], *(name for name, shown in zip(key[1:], varying[1:], strict=True) if shown)]),
                x=tuple(each["train_size"] for each in some),
                y=tuple(each["macro_f1"]["mean"] for each in some),
                low=low,
                high=high,
                notes=tuple(f"{each['train_size']:,} images, depth {each['depth']}" for each in some),
            )
        )
    return Chart(
        name="score-images",
        title="Score against training images",
        caption="Macro-F1 on the test set, each network at the depth recommended for that many images.",
        x_label="training images",
        y_label="macro-F1 on test",
        series=tuple(series),
        log_x=True,
        bars=INTERVAL if facts["method"] else STANDARD_DEVIATION,
    )


def _table(facts: Facts) -> list[Row]:
    return [row for row in facts["rows"] if row["inputs"] == "table"]


def _without_network(label: str, rows: list[Row]) -> Series:
    """A line of what has no network and no depth."""
    rows = sorted(rows, key=lambda row: row["train_size"])
    low, high = zip(*(_ends(row["macro_f1"]) for row in rows), strict=True)
    sizes, means = (tuple(each) for each in zip(*((r["train_size"], r["macro_f1"]["mean"]) for r in rows), strict=True))
    return Series(label, sizes, means, low, high)
