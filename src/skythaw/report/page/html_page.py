"""A report as one file of HTML that needs nothing else: no network, no folder of pictures beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from skythaw.errors import DataError, OutputError
from skythaw.machine.files import is_web_page, replacing, writing
from skythaw.report.figures.elements import Chart, Figure, Gallery, HeatMap, Page, Table, figures_of, table_of
from skythaw.report.figures.figure_style import DARK, LIGHT, NIGHT_SCALE, SCALE, Look, look
from skythaw.report.figures.plotly_figures import Plot, plot
from skythaw.report.page.text_table import TextTable, text_table

IMAGES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
CROWD = 6
"""A chart of more series, and a matrix of more columns, has the whole width for itself."""
THIRD = 256
"""Three matrices share the width of a page if they take no more pixels each."""


@dataclass(frozen=True)
class PlacedFigure:
    """A figure as the template takes it."""

    figure: Figure
    number: int
    plot: Plot
    numbers: TextTable
    legend: tuple[tuple[str, Look, int], ...]
    """label, look and index of each series, where there are several"""
    ring: str
    width: str
    """of the text: whole, half or third"""
    remark: str
    """what bars mean, after the caption"""


@dataclass(frozen=True)
class Part:
    """What stands in a section, with the word by which the template knows it."""

    kind: str
    content: Any


def save_page(page: Page, file: Path) -> None:
    """Write the page to a file that is either whole or not there.

    Raises
    ------
    OutputError
        The file can't be written, or is there already and is no page.
    """
    check_page(file)
    text = render(page).encode("utf-8", "replace")
    with writing(file), replacing(file) as out:
        out.write(text)


def check_page(file: Path | str | None) -> None:
    """Raise `OutputError` if a page would replace a folder, or a file that is no page; None: no page is wanted."""
    if file is None or not Path(file).exists():
        return
    if Path(file).is_dir():
        raise OutputError(f"can't write {file}: it is a folder")
    with writing(Path(file)), Path(file).open("rb") as opened:
        start = opened.read(64)
    if start and not is_web_page(start):
        raise OutputError(f"can't write {file}: it is there already, and is no web page; give another name")


def render(page: Page) -> str:
    """Make the page: the same records give the same text.

    Parameters
    ----------
    page
        the report; every word in it is taken for text and never for HTML

    Raises
    ------
    DataError
        An image is neither PNG nor JPEG.
    ValueError
        Two figures or sections have the same name: links could not tell them apart.
    """
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    _require_different([section.name for section in page.sections] + [figure.name for figure in figures_of(page)])
    drawn = {id(figure): _drawn(figure, i + 1) for i, figure in enumerate(figures_of(page))}
    sections = [(s, _parts(s.parts, drawn), [drawn[id(p)] for p in s.parts if id(p) in drawn]) for s in page.sections]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    scripts = [get_plotlyjs(), _asset("report.js")]
    return environment.from_string(_asset("report.html.j2")).render(
        page=page,
        count=len(drawn),
        first=drawn[id(page.figure)],
        sections=sections,
        light=LIGHT,
        dark=DARK,
        css=_asset("report.css"),
        scripts=scripts,
        hashes=" ".join(f"'sha256-{_hash(script)}'" for script in scripts),
        data=_data(list(drawn.values())),
    )


def _require_different(names: list[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"figures and sections of one page need different names: {', '.join(map(repr, twice))}")


def _drawn(figure: Figure, number: int) -> PlacedFigure:
    made, numbers = plot(figure), text_table(table_of(figure))
    if isinstance(figure, HeatMap):
        columns = len(figure.columns)
        width = "third" if made.least <= THIRD else "half" if columns <= CROWD else "whole"
        return PlacedFigure(figure, number, made, numbers, (), "", width, "")
    legend = tuple((series.label, look(i), i) for i, series in enumerate(figure.series))
    ring = figure.ring if any(series.marked for series in figure.series) else ""
    remark = f"Bars: {figure.bars}." if figure.bars and any(series.low for series in figure.series) else ""
    shown = legend if len(legend) > 1 or ring else ()
    return PlacedFigure(figure, number, made, numbers, shown, ring, "whole" if len(legend) > CROWD else "half", remark)


def _parts(parts: tuple[str | Figure | Table | Gallery, ...], drawn: dict[int, PlacedFigure]) -> list[Part]:
    """The parts of a section; figures that follow each other stand in one grid."""
    made: list[Part] = []
    for part in parts:
        if isinstance(part, str):
            made.append(Part("text", part))
        elif isinstance(part, Table):
            made.append(Part("table", text_table(part)))
        elif isinstance(part, Gallery):
            made.append(Part("gallery", (part.caption, [(_uri(p.image), p.text) for p in part.pictures])))
        elif made and made[-1].kind == "figures":
            made[-1].content.append(drawn[id(part)])
        else:
            made.append(Part("figures", [drawn[id(part)]]))
    return [Part("figures", _filled(p.content)) if p.kind == "figures" else p for p in made]


def _filled(row: list[PlacedFigure]) -> list[PlacedFigure]:
    """The figures of a grid; a chart that has no neighbour to share the width with gets all of it."""
    filled: list[PlacedFigure] = []
    for width, some in groupby(row, lambda each: each.width):
        run = list(some)
        if width == "half" and len(run) % 2 and isinstance(run[-1].figure, Chart):
            run[-1] = replace(run[-1], width="whole")
        filled += run
    return filled


def _uri(image: bytes) -> str:
    for start, kind in IMAGES.items():
        if image.startswith(start):
            return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    raise DataError(f"a picture of the report is neither PNG nor JPEG: it starts with {image[:8]!r}")


def _data(drawn: list[PlacedFigure]) -> str:
    """What the script draws, as JSON that HTML can't mistake for a tag."""
    themes = {"light": LIGHT | {"scale": _stops(SCALE)}, "dark": DARK | {"scale": _stops(NIGHT_SCALE)}}
    plots = {
        each.figure.name: {"traces": each.plot.traces, "layout": each.plot.layout, "height": each.plot.height}
        for each in drawn
    }
    text = json.dumps({"themes": themes, "plots": plots}, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _stops(colours: tuple[str, ...]) -> list[tuple[float, str]]:
    return [(i / (len(colours) - 1), colour) for i, colour in enumerate(colours)]


@cache
def _asset(name: str) -> str:
    return files("skythaw.report").joinpath("assets", name).read_text("utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
