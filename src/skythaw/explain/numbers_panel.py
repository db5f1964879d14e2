"""The part of an explanation's picture that is of numbers: each half's own answer, and the weightiest numbers."""

from __future__ import annotations

from textwrap import fill
from typing import Any

from skythaw.explain.number_reasons import SHOWN, NumberReasons
from skythaw.report.figures.figure_style import COLOURS, LIGHT, shorten

NAMES = {"images": "image alone", "table": "numbers alone"}


def draw_numbers(canvas: Any, reasons: NumberReasons, p: dict[str, float], label: str) -> None:
    """Draw it into a part of a matplotlib figure; `p` are the probabilities of the whole answer."""
    title = fill(" ".join(reasons.sentences(label)), 118)
    canvas.suptitle(title, x=0.005, ha="left", fontsize=9, color=LIGHT["ink"])
    halves, weights = canvas.subplots(1, 2, width_ratios=[1, 1.6])
    bars = {NAMES[name]: each[label] for name, each in reasons.halves.items()} | {"the answer": p[label]}
    _bars(halves, bars, [*["#b9c4cf"] * (len(bars) - 1), COLOURS[0]])
    halves.set_xlim(0, 1.15)
    halves.set_xlabel(f"p({shorten(label, 16)})", fontsize=8)
    shown = reasons.weights[:SHOWN]
    if not shown:
        weights.axis("off")
        return
    drops = {f"{each.name} = {_value(each.value)}": each.drop for each in shown}
    _bars(weights, drops, [COLOURS[0] if drop >= 0 else COLOURS[1] for drop in drops.values()])
    weights.set_xlabel(f"drop of p({shorten(label, 16)}) with the training's median in its place", fontsize=8)
    widest = max(0.01, *(abs(drop) for drop in drops.values()))
    weights.set_xlim(-1.35 * widest if min(drops.values()) < 0 else 0, 1.35 * widest)


def _bars(axes: Any, values: dict[str, float], colours: list[str]) -> None:
    axes.barh([f" {shorten(name, 34)}" for name in values], list(values.values()), color=colours, height=0.7)
    for place, value in enumerate(values.values()):
        axes.text(max(value, 0), place, f" {value:.3f}", va="center", fontsize=7.5)
    axes.invert_yaxis()
    axes.tick_params(labelsize=7.5, length=0)


def _value(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4g}"
