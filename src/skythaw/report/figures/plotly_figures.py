"""A figure as plotly draws it: traces and a layout, with slots (`@ink`) where the theme puts its colours."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

from skythaw.report.figures.elements import Chart, Figure, HeatMap, Series, dots_of
from skythaw.report.figures.figure_style import Look, look, shorten, ticks_of
from skythaw.report.number_format import say

CROWD = 30
"""A line through more points has small symbols."""
FEW = 10
"""A matrix of more columns has small numbers."""
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


@dataclass(frozen=True)
class Plot:
    """What the page needs to draw a figure."""

    traces: tuple[dict[str, Any], ...]
    layout: dict[str, Any]
    height: int
    """in pixels"""
    least: int
    """width in pixels under which it scrolls sideways"""
    most: int | None
    """width in pixels above which it grows no more"""


def plot(figure: Figure) -> Plot:
    """Make the plot of a figure."""
    return _heat_map(figure) if isinstance(figure, HeatMap) else _chart(figure)


def _chart(chart: Chart) -> Plot:
    traces = [_dots(chart, series, i) for i, series in enumerate(chart.series) if series.dots]
    traces += [_trace(series, i) for i, series in enumerate(chart.series)]
    ringed = [i for i, series in enumerate(chart.series) if series.marked]
    traces += [_rings(chart, i, first=i == ringed[0]) for i in ringed]
    layout = _layout(chart)
    if chart.log_x:
        layout["xaxis"] |= {"type": "log", **_decades(chart)}
    if chart.x_names:
        layout["xaxis"] |= _categories(chart.x_names, 1) | {"range": [0.5, len(chart.x_names) + 0.5]}
    if chart.diagonal and (line := _diagonal(chart)):
        traces.insert(0, line)
    if chart.level is not None:
        line = {"color": "@muted", "width": 1.5, "dash": "dash"}
        ends = {"xref": "paper", "x0": 0, "x1": 1, "y0": chart.level, "y1": chart.level}
        layout["shapes"] = [{"type": "line", "layer": "below", "line": line, **ends}]
    return Plot(tuple(traces), layout, 400, 0, None)


def _trace(series: Series, i: int) -> dict[str, Any]:
    how: Look = look(i)
    trace = {
        "type": "scatter",
        "mode": "lines+markers" if series.joined else "markers",
        "name": _literal(shorten(series.label)),
        "meta": i,
        "x": _finite(series.x),
        "y": _finite(series.y),
        "text": _hovers(series),
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
        "marker": {"color": how.colour, "symbol": how.symbol.plotly, "size": 8 if len(series.x) <= CROWD else 4},
        "line": {"color": how.colour, "dash": how.dash.plotly, "width": 2},
    }
    if series.low and series.high:
        up = [None if y is None or b is None else max(0.0, b - y) for y, b in zip(series.y, series.high, strict=True)]
        down = [None if y is None or a is None else max(0.0, y - a) for y, a in zip(series.y, series.low, strict=True)]
        ends = {"array": _finite(up), "arrayminus": _finite(down)}
        trace["error_y"] = {"symmetric": False, "color": how.colour, "thickness": 1.2, "width": 3, **ends}
    return trace


def _dots(chart: Chart, series: Series, i: int) -> dict[str, Any]:
    """The single values behind the points of a series."""
    single = dots_of(chart, series)
    return {
        "type": "scatter",
        "mode": "markers",
        "meta": i,
        "showlegend": False,
        "hoverinfo": "skip",
        "x": _finite(x for x, _ in single),
        "y": _finite(y for _, y in single),
        "marker": {"color": look(i).colour, "symbol": "circle", "size": 5, "opacity": 0.7},
    }


def _hovers(series: Series) -> list[str]:
    """What is said of each point: value, interval, place, note."""
    nothing = (None,) * len(series.x)
    notes = series.notes or ("",) * len(series.x)
    ends = zip(series.low or nothing, series.high or nothing, strict=True)
    texts = []
    for x, y, (low, high), note in zip(series.x, series.y, ends, notes, strict=True):
        span = "" if low is None or high is None else f" ({say(low)} to {say(high)})"
        lines = [f"{say(y)}{span} at {say(x, whole=True)}", *wrap(note, 44)]
        texts.append("<br>".join(map(_literal, lines)))
    return texts


def _rings(chart: Chart, i: int, *, first: bool) -> dict[str, Any]:
    series = chart.series[i]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": _literal(chart.ring),
        "meta": i,
        "legendgroup": "ring",
        "showlegend": first and bool(chart.ring),
        "hoverinfo": "skip",
        "x": _finite(series.x[k] for k in series.marked),
        "y": _finite(series.y[k] for k in series.marked),
        "marker": {"color": "@ink", "symbol": "circle-open", "size": 18, "line": {"width": 2, "color": "@ink"}},
    }


def _diagonal(chart: Chart) -> dict[str, Any] | None:
    """The line y = x over the span of all numbers; bent where x is logarithmic."""
    numbers = [v for s in chart.series for v in (*_finite(s.x), *_finite(s.y)) if v is not None]
    if chart.log_x:
        numbers = [v for v in numbers if v > 0]
    if not numbers:
        return None
    low, high, steps = min(numbers), max(numbers), 60 if chart.log_x else 1
    line = [low * (high / low) ** (k / steps) for k in range(steps + 1)] if chart.log_x else [low, high]
    how = {"color": "@muted", "dash": "dash", "width": 1.5}
    return {"type": "scatter", "mode": "lines", "name": "y = x", "x": line, "y": line, "line": how, "hoverinfo": "skip"}


def _decades(chart: Chart) -> dict[str, Any]:
    """Ticks where the points are, if they are few; else plotly's own."""
    if places := ticks_of(x for series in chart.series for x in series.x):
        return {"tickvals": places, "ticktext": [say(place, whole=True) for place in places]}
    return {}


def _heat_map(heat_map: HeatMap) -> Plot:
    values = [_finite(row) for row in heat_map.values]
    texts = [["" if v is None else format(v, heat_map.form) for v in row] for row in values]
    columns, rows = len(heat_map.columns), len(heat_map.rows)
    small = columns > FEW
    trace = {
        "type": "heatmap",
        "x": list(range(columns)),
        "y": list(range(rows)),
        "z": values,
        "customdata": _cell_notes(heat_map, texts),
        "hovertemplate": "%{customdata}<extra></extra>",
        "hoverongaps": False,
        "colorscale": "@scale",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    layout = _layout(heat_map)
    layout["xaxis"] |= _categories(heat_map.columns) | {"range": [-0.5, columns - 0.5]}
    layout["yaxis"] |= _categories(heat_map.rows) | {"range": [rows - 0.5, -0.5]}
    longest = max((len(t) for line in texts for t in line), default=4)
    labels = 50 + 7 * min(24, max(map(len, heat_map.rows), default=0))
    least = labels + columns * ((6 if small else 16) + 8 * longest)
    height = 86 + min(64, 34 + 100 // max(rows, 1)) * rows
    return Plot((trace, _written(values, texts, 12 if small else 13)), layout, height, least, labels + 140 * columns)


def _written(values: list[list[float | None]], texts: list[list[str]], size: int) -> dict[str, Any]:
    """The numbers in the cells, each in the ink that its cell is read best with: plotly's own choice is pale."""
    there = [(x, y, v) for y, row in enumerate(values) for x, v in enumerate(row) if v is not None]
    numbers = [v for _, _, v in there]
    low, span = min(numbers, default=0.0), max(numbers, default=0.0) - min(numbers, default=0.0)
    shares = [(v - low) / span if span else 0.5 for v in numbers]
    inks = ["@on-low" if f < 0.455 else "@on-middle" if f < 0.625 else "@on-high" for f in shares]
    return {
        "type": "scatter",
        "mode": "text",
        "x": [x for x, _, _ in there],
        "y": [y for _, y, _ in there],
        "text": [_literal(texts[y][x]) for x, y, _ in there],
        "textfont": {"size": size, "color": inks},
        "hoverinfo": "skip",
    }


def _cell_notes(heat_map: HeatMap, texts: list[list[str]]) -> list[list[str]]:
    return [
        [_literal(f"{row}, {column}: {text}") for column, text in zip(heat_map.columns, line, strict=True)]
        for row, line in zip(heat_map.rows, texts, strict=True)
    ]


def _categories(names: tuple[str, ...], first: int = 0) -> dict[str, Any]:
    ticks = {
        "tickvals": list(range(first, first + len(names))),
        "ticktext": [_literal(shorten(name, 24)) for name in names],
    }
    return ticks | {"ticks": "", "showgrid": False, "showline": False}


def _layout(figure: Figure) -> dict[str, Any]:
    def axis(label: str) -> dict[str, Any]:
        return {
            "title": {"text": _literal(label), "standoff": 10, "font": {"size": 13}},
            "type": "linear",
            "automargin": True,
            "gridcolor": "@grid",
            "linecolor": "@muted",
            "tickcolor": "@muted",
            "ticks": "outside",
            "ticklen": 4,
            "showline": True,
            "zeroline": False,
        }

    return {
        "xaxis": axis(figure.x_label),
        "yaxis": axis(figure.y_label),
        "margin": {"l": 54, "r": 12, "t": 14, "b": 46},
        "paper_bgcolor": "@panel",
        "plot_bgcolor": "@panel",
        "font": {"family": FONT, "size": 13, "color": "@ink"},
        "hoverlabel": {
            "align": "left",
            "namelength": 48,
            "bgcolor": "@panel",
            "bordercolor": "@muted",
            "font": {"size": 12, "color": "@ink"},
        },
        "hovermode": "closest",
        "showlegend": False,
    }


def _literal(text: str) -> str:
    """Text that plotly shows as it is: it reads a few HTML tags and entities otherwise."""
    return escape(text, quote=False)


def _finite(values: Iterable[float | None]) -> list[float | None]:
    """The numbers, with None for what JSON has no word for."""
    return [None if v is None or not math.isfinite(v) else v for v in values]
