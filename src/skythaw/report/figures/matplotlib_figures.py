"""Figures of a report as pictures: for papers, for the README, and for pages that must do without scripts."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any

from skythaw.errors import DataError, OutputError
from skythaw.machine.files import replacing, writing
from skythaw.report.figures.elements import Chart, Figure, HeatMap, Series, dots_of
from skythaw.report.figures.figure_style import DARK, LIGHT, SCALE, look, shorten, ticks_of
from skythaw.report.number_format import say

FORMATS = ("png", "svg", "pdf")
DATES: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Left out, so that the same figure is the same file."""
WIDTH = 7.0
"""inches: two columns of a journal"""
INSIDE = 4
"""More series than this have their legend under the plot."""
RULES: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.edgecolor": "0.35",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.91",
    "legend.fontsize": 8.5,
    "svg.hashsalt": "skythaw",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names are the user's: a dollar is a dollar
}
DARK_RULES: Any = RULES | {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), DARK["panel"]),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), DARK["ink"]),
    "axes.edgecolor": DARK["muted"],
    "grid.color": DARK["grid"],
}
_one_at_a_time = threading.Lock()
"""matplotlib's rules are those of the whole process, and `skythaw serve` draws in several threads."""


def save_figures(figures: Iterable[Figure], folder: Path) -> list[Path]:
    """Save each figure as `NAME.png` and `NAME.svg`, and say which files that are."""
    files = [(figure, folder / f"{figure.name}.{kind}") for figure in figures for kind in ("png", "svg")]
    for figure, file in files:
        save_figure(figure, file)
    return [file for _, file in files]


def save_figure(figure: Figure, file: Path) -> None:
    """Draw a figure with matplotlib, without its caption, and save it.

    Parameters
    ----------
    figure
        of a report
    file
        its ending decides the format: png (300 dpi), svg or pdf

    Raises
    ------
    OutputError
        The format is unknown, or the file can't be written.
    DataError
        matplotlib is not installed.
    """
    kind = file.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise OutputError(f"can't draw {file}: its name must end in {', '.join('.' + f for f in FORMATS)}")
    content = draw(figure, kind)
    with writing(file), replacing(file) as out:
        out.write(content)


def draw(figure: Figure, kind: str, *, dark: bool = False) -> bytes:
    """Draw a figure, without its caption: the content of a file.

    Parameters
    ----------
    figure
        of a report
    kind
        one of `FORMATS`
    dark
        light on dark, for a page with a dark theme

    Raises
    ------
    DataError
        matplotlib is not installed.
    """
    out = io.BytesIO()
    with matplotlib_rules(DARK_RULES if dark else RULES):
        drawing = _heat_map(figure) if isinstance(figure, HeatMap) else _chart(figure, DARK if dark else LIGHT)
        drawing.savefig(out, format=kind, dpi=300, metadata=DATES.get(kind))
    return out.getvalue()


@contextmanager
def matplotlib_rules(rules: Any = RULES, extra: str = "plot") -> Iterator[None]:
    """Draw by the rules of the project's pictures, one thread at a time; raises as `require_matplotlib` does."""
    require_matplotlib(extra)
    from matplotlib import rc_context

    with _one_at_a_time, rc_context(rules):
        yield


def require_matplotlib(extra: str) -> None:
    """Raise `DataError` unless matplotlib is installed; `extra` is what brings it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise DataError(f"pictures need matplotlib: pip install 'skythaw[{extra}]'") from None


def draw_on(figure: Figure, axes: Any, *, title: bool = True) -> None:
    """Draw a figure on the axes of a caller, in the caller's own style and sizes.

    Parameters
    ----------
    figure
        of a report
    axes
        ``matplotlib.axes.Axes``; what is drawn on them stays
    title
        whether the axes get the figure's title
    """
    width, height = axes.get_window_extent().size / axes.figure.dpi
    axes.set_xlabel(fill(figure.x_label, max(20, int(12 * width))))
    axes.set_ylabel(fill(figure.y_label, max(20, int(13 * height))))
    if title:
        axes.set_title(fill(figure.title, max(24, int(9 * width))), loc="left")
    if isinstance(figure, HeatMap):
        _on_heat_map(figure, axes)
        return
    handles, names = _on_chart(figure, axes, LIGHT)
    if len(names) > 1:
        axes.legend(handles, names, loc="best", fontsize="small" if len(names) > INSIDE else None)


def _chart(chart: Chart, colours: Mapping[str, str]) -> Any:
    labels = [shorten(series.label, 40) for series in chart.series]
    columns = max(1, min(4, int(WIDTH / (0.5 + 0.07 * max(map(len, labels), default=1)))))
    outside = len(labels) > INSIDE
    rows = math.ceil((len(labels) + bool(chart.ring)) / columns) if outside else 0
    canvas, axes = _blank(chart, WIDTH, 4.0 + 0.19 * rows)
    handles, names = _on_chart(chart, axes, colours)
    if outside:
        canvas.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
    elif len(names) > 1:
        axes.legend(handles, names, loc="best", framealpha=0.85, edgecolor="none")
    return canvas


def _on_chart(chart: Chart, axes: Any, colours: Mapping[str, str]) -> tuple[list[Any], list[str]]:
    """Draw a chart on axes; what its legend has to show, and the names of that."""
    labels = [shorten(series.label, 40) for series in chart.series]
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_x or chart.x_names:
        _tick(axes, chart)
    handles = [_draw_series(axes, (chart, series), i, colours) for i, series in enumerate(chart.series)]
    faint = {"color": colours["muted"], "linestyle": "--", "linewidth": 1.0, "zorder": 1}
    if chart.diagonal:
        axes.axline((0.5, 0.5), slope=1, **faint) if not chart.log_x else _bent(axes, faint)
    if chart.level is not None:
        axes.axhline(chart.level, **faint)
    rings = _rings(axes, chart, colours)
    if rings and chart.ring:
        handles.append(rings)
        labels.append(shorten(chart.ring, 40))
    axes.grid(True)
    axes.set_axisbelow(True)
    return handles, [f" {label}" for label in labels]  # matplotlib drops a name that begins with an underscore


def _draw_series(axes: Any, drawn: tuple[Chart, Series], i: int, colours: Mapping[str, str]) -> Any:
    chart, series = drawn
    how = look(i)
    colour = colours[how.colour[1:]] if how.colour.startswith("@") else how.colour
    y = _numbers(series.y)
    if single := dots_of(chart, series):
        x, values = (_numbers(column) for column in zip(*single, strict=True))
        axes.plot(x, values, "o", color=colour, markersize=3, alpha=0.55, markeredgewidth=0)
    return axes.errorbar(
        _numbers(series.x),
        y,
        yerr=[_gaps(y, series.low, -1), _gaps(y, series.high, 1)] if series.low and series.high else None,
        color=colour,
        marker=how.symbol.matplotlib,
        markersize=5 if len(y) <= 30 else 2.5,
        linestyle=how.dash.matplotlib if series.joined else "none",
        linewidth=1.5,
        elinewidth=0.9,
        capsize=2,
    )


def _rings(axes: Any, chart: Chart, colours: Mapping[str, str]) -> Any:
    marked = [(series.x[k], series.y[k]) for series in chart.series for k in series.marked]
    if not marked:
        return None
    x, y = (_numbers(column) for column in zip(*marked, strict=True))
    (rings,) = axes.plot(x, y, "o", markersize=12, markerfacecolor="none", markeredgecolor=colours["ink"])
    return rings


def _bent(axes: Any, faint: dict[str, Any]) -> None:
    """The line y = x where x is logarithmic, between the ends of the axis."""
    low, high = axes.get_xlim()
    line = [low * (high / low) ** (k / 60) for k in range(61)]
    axes.plot(line, line, scaley=False, scalex=False, **faint)


def _tick(axes: Any, chart: Chart) -> None:
    if chart.x_names:
        axes.set_xticks(range(1, len(chart.x_names) + 1), [shorten(name, 24) for name in chart.x_names])
    elif places := ticks_of([x for series in chart.series for x in series.x]):
        axes.set_xticks(places, [say(place, whole=True) for place in places])
        axes.minorticks_off()


def _heat_map(heat_map: HeatMap) -> Any:
    width, rows = min(WIDTH, 1.6 + 0.95 * len(heat_map.columns)), len(heat_map.rows)
    canvas, axes = _blank(heat_map, max(width, 3.5), 1.3 + min(0.6, 0.28 + 1 / max(rows, 1)) * rows)
    _on_heat_map(heat_map, axes)
    return canvas


def _on_heat_map(heat_map: HeatMap, axes: Any) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    values = [_numbers(row) for row in heat_map.values]
    there = [v for row in values for v in row if not math.isnan(v)]
    low, high = min(there, default=0.0), max(there, default=1.0)
    scale = LinearSegmentedColormap.from_list("skythaw", SCALE)
    edges = {"edgecolors": "white", "linewidth": 1.5}
    axes.pcolormesh(values, cmap=scale, vmin=low, vmax=high if high > low else low + 1, **edges)
    axes.invert_yaxis()
    many = len(heat_map.columns) > 8
    for y, row in enumerate(values):
        for x, v in enumerate(row):
            if not math.isnan(v):
                ink = "on-high" if high > low and (v - low) / (high - low) >= 0.625 else "on-low"
                size = 6.5 if many else 9
                text = format(v, heat_map.form)
                axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", color=LIGHT[ink], fontsize=size)
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if many else {}
    axes.set_xticks(
        [x + 0.5 for x in range(len(heat_map.columns))], [shorten(n, 24) for n in heat_map.columns], **turned
    )
    axes.set_yticks([y + 0.5 for y in range(len(heat_map.rows))], [shorten(n, 24) for n in heat_map.rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _blank(figure: Figure, width: float, height: float) -> tuple[Any, Any]:
    """A canvas and its axes with labels and a title; no pyplot, which would keep it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    axes.set_xlabel(fill(figure.x_label, int(12 * width)))
    axes.set_ylabel(fill(figure.y_label, 50))
    axes.set_title(fill(figure.title, int(11 * width)), loc="left")
    return canvas, axes


def _numbers(values: Iterable[float | None]) -> list[float]:
    """The numbers, with NaN for what leaves a gap."""
    return [math.nan if v is None or not math.isfinite(v) else float(v) for v in values]


def _gaps(y: list[float], ends: Iterable[float | None], sign: int) -> list[float]:
    return [max(0.0, sign * (end - v)) for v, end in zip(y, _numbers(ends), strict=True)]
