"""Colours, symbols and dashes, the same in the page and in pictures for papers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "@ink")
"""Wong, Nature Methods 8, 441 (2011): told apart by colour-blind readers too; his black is the theme's ink."""

SCALE = ("#ebf7ff", "#b8e1fc", "#8dc8f2", "#68aee4", "#4994d2", "#3179bb", "#2060a1", "#164882", "#103161")
"""One hue, with the lightness of OKLab in equal steps."""
NIGHT_SCALE = ("#0c2345", "#103967", "#155187", "#206ba3", "#3486bc", "#51a1d1", "#75bce2", "#9fd6f0", "#cfeefb")

LIGHT = {
    "paper": "#f7f8f9",
    "panel": "#ffffff",
    "ink": "#15202b",
    "muted": "#55606c",
    "line": "#dde2e6",
    "grid": "#e8ecef",
    "accent": "#005f96",
    "alarm": "#7a4300",
    "alarm-paper": "#fff3dd",
    "alarm-line": "#e8b860",
    "on-low": "#000000",
    "on-middle": "#000000",
    "on-high": "#ffffff",
}
DARK = {
    "paper": "#0d1319",
    "panel": "#141c24",
    "ink": "#e7ecf1",
    "muted": "#a0adb9",
    "line": "#2a3540",
    "grid": "#232d37",
    "accent": "#74bdf0",
    "alarm": "#f4c57c",
    "alarm-paper": "#2a2113",
    "alarm-line": "#7d5c22",
    "on-low": "#ffffff",
    "on-middle": "#000000",
    "on-high": "#000000",
}
"""A slot `@name` in a plot is filled with the colour `name` of the theme."""


@dataclass(frozen=True)
class Stroke:
    """A marker, or a kind of line, in the words of each that draws it."""

    plotly: str
    matplotlib: str
    svg: str
    """a marker: its path about the origin, 8 units wide; a line: its pattern of dashes"""


SYMBOLS = (
    Stroke("circle", "o", "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z"),
    Stroke("square", "s", "M-3.6 -3.6h7.2v7.2h-7.2z"),
    Stroke("diamond", "D", "M0 -4.8L4.8 0L0 4.8L-4.8 0z"),
    Stroke("triangle-up", "^", "M0 -4.8L4.6 3.6H-4.6z"),
    Stroke("triangle-down", "v", "M0 4.8L4.6 -3.6H-4.6z"),
    Stroke("cross", "P", "M-1.5 -4.4h3v2.9h2.9v3h-2.9v2.9h-3v-2.9h-2.9v-3h2.9z"),
    Stroke(
        "x", "X", "M0 -2.1L2.3 -4.4L4.4 -2.3L2.1 0L4.4 2.3L2.3 4.4L0 2.1L-2.3 4.4L-4.4 2.3L-2.1 0L-4.4 -2.3L-2.3 -4.4z"
    ),
    Stroke("star", "*", "M0 -5L1.2 -1.6L4.8 -1.5L1.9 0.6L3 4L0 2L-3 4L-1.9 0.6L-4.8 -1.5L-1.2 -1.6z"),
)
DASHES = (
    Stroke("solid", "-", "none"),
    Stroke("dash", "--", "6 3"),
    Stroke("dot", ":", "2 2"),
    Stroke("dashdot", "-.", "7 2 2 2"),
)


@dataclass(frozen=True)
class Look:
    """How a series is drawn."""

    colour: str
    symbol: Stroke
    dash: Stroke


def look(i: int) -> Look:
    """How the series number `i` of a chart is drawn: no two of the first 28 alike."""
    return Look(COLOURS[i % len(COLOURS)], SYMBOLS[i % len(SYMBOLS)], DASHES[i // len(COLOURS) % len(DASHES)])


def shorten(text: str, width: int = 48) -> str:
    """A label of at most `width` letters: its middle is left out, for names often differ at their ends."""
    text = " ".join(text.split())
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"


def ticks_of(values: Iterable[float]) -> list[float]:
    """Where a logarithmic axis has its ticks: at the points, if they are few and not too near; else nowhere."""
    positive = sorted({x for x in values if math.isfinite(x) and x > 0})
    if len(positive) > 12:
        return []
    ticks: list[float] = []
    for value in positive:
        if not ticks or value >= 1.4 * ticks[-1]:
            ticks.append(value)
    return ticks
