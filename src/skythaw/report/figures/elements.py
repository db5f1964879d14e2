"""What a report is made of: figures, tables and pictures as plain records.

Each figure is described once, with its numbers. The report's page draws it with plotly; `--figures` and the pages of
`skythaw serve` draw it with matplotlib; `table_of` gives the same numbers as a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Value = float | int | str | None
"""What a table holds; None is shown as a dash."""
INTERVAL = "95 % interval"
"""What error bars mean, mostly."""


@dataclass(frozen=True)
class Series:
    """One line, or one set of points, of a chart."""

    label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] | None = None
    """lower ends of the intervals of `y`"""
    high: tuple[float | None, ...] | None = None
    marked: tuple[int, ...] = ()
    """indices of points that get a ring; `Chart.ring` says what it means"""
    joined: bool = True
    """whether a line joins the points"""
    notes: tuple[str, ...] = ()
    """what is said of each point where the pointer is on it; empty, or one for each point"""
    dots: tuple[tuple[float, ...], ...] = ()
    """for each point the single values that it is the mean of, drawn as small dots; empty, or one for each point"""


@dataclass(frozen=True)
class Chart:
    """Numbers against a number."""

    name: str
    """of the file, and of the anchor in the page: lower case letters, digits and hyphens"""
    title: str
    caption: str
    """what to see"""
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    log_x: bool = False
    diagonal: bool = False
    """draw y = x"""
    level: float | None = None
    """draw a horizontal line"""
    ring: str = ""
    """what a ring round a point means"""
    bars: str = ""
    """what the error bars mean"""
    x_names: tuple[str, ...] = ()
    """what x = 1, 2, ... are called, where they are no numbers"""


@dataclass(frozen=True)
class HeatMap:
    """A matrix of numbers in words and colours."""

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    """[row][column]"""
    form: str = ".2f"
    """how a value is written (a Python format)"""


Figure = Chart | HeatMap


@dataclass(frozen=True)
class Table:
    """Rows under a heading."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Picture:
    """One image of an object, with what is said of it."""

    image: bytes
    """PNG or JPEG"""
    text: str


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side."""

    caption: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page: paragraphs (plain text), and what stands between them."""

    name: str
    """of the anchor: lower case letters, digits and hyphens"""
    title: str
    parts: tuple[str | Figure | Table | Gallery, ...]
    folded: bool = False
    """whether it is closed at first, because people rarely look; it must have no figure"""


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    question: str
    answers: tuple[str, ...]
    """the sentences of the plain answer"""
    figure: Chart
    sections: tuple[Section, ...]
    foot: str
    """what made it, and from what"""
    alarms: tuple[str, ...] = ()
    """what makes the answer doubtful, shown with it"""


def dots_of(chart: Chart, series: Series) -> list[tuple[float, float]]:
    """Where the single values of a series are drawn: a little to the right of its points, clear of their bars."""
    places = [x for each in chart.series for x in each.x]
    aside = 0.012 * (max(places) - min(places)) if places and not chart.log_x else 0.0
    return [(x + aside, y) for x, values in zip(series.x, series.dots, strict=False) for y in values]


def figures_of(page: Page) -> list[Figure]:
    """All figures of a page, the first screen's first."""
    return [page.figure, *(part for s in page.sections for part in s.parts if isinstance(part, Chart | HeatMap))]


def table_of(figure: Figure) -> Table:
    """The numbers of a figure."""
    if isinstance(figure, HeatMap):
        head = (figure.y_label, *figure.columns)
        return Table(figure.title, head, tuple((r, *v) for r, v in zip(figure.rows, figure.values, strict=True)))
    bars = any(series.low for series in figure.series)
    head = ("", figure.x_label, figure.y_label, *(("low", "high") if bars else ()))
    rows = [row for series in figure.series for row in _points(figure, series, bars)]
    return Table(figure.title, head, tuple(rows))


def _points(chart: Chart, series: Series, bars: bool) -> list[tuple[Value, ...]]:
    nothing: Sequence[None] = (None,) * len(series.x)
    low, high = series.low or nothing, series.high or nothing
    return [
        (series.label, chart.x_names[int(x) - 1] if chart.x_names and x else x, y, *((a, b) if bars else ()))
        for x, y, a, b in zip(series.x, series.y, low, high, strict=True)
    ]
