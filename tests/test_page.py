"""The page of a report as text: whole, offline, safe with hostile names, true to its numbers."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from matplotlib.figure import Figure as MatplotlibFigure

from helpers_page import HOSTILE, NASTY, confusion, depth_chart, png, rich, small
from skythaw.errors import DataError, OutputError
from skythaw.report.figures.elements import (
    Chart,
    Gallery,
    HeatMap,
    Picture,
    Section,
    Series,
    Table,
    figures_of,
    table_of,
)
from skythaw.report.figures.figure_style import DARK, LIGHT, NIGHT_SCALE, SCALE, look, shorten
from skythaw.report.figures.matplotlib_figures import draw_on
from skythaw.report.figures.plotly_figures import plot
from skythaw.report.number_format import percent, say
from skythaw.report.page.html_page import render, save_page
from skythaw.report.page.text_table import text_table


class Reader(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.tables, self.cell, self.script = [], [], [], None, False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.script = tag == "script"
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(["", dict(attrs).get("data-v")])
        self.cell = self.tables[-1][-1][-1] if tag in ("td", "th") else None

    def handle_endtag(self, tag):
        self.cell, self.script = None, False

    def handle_data(self, data):
        if self.script:
            self.scripts[-1] += data
        elif self.cell is not None:
            self.cell[0] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def text():
    return render(rich())


@pytest.fixture(scope="module")
def read(text):
    return Reader(text)


def test_the_same_page_is_the_same_bytes(text):
    assert render(rich()) == text


def test_plotly_is_there_once_and_the_page_is_not_heavy(text):
    assert len(re.findall(r"\* plotly\.js v\d", text)) == 1
    assert len(text.encode()) < 5_500_000


def test_nothing_is_fetched_and_nothing_runs_from_an_attribute(read):
    for tag, attrs in read.tags:
        assert not [name for name in attrs if name.startswith("on")], tag
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert attrs.get(name, "#").startswith(("#", "data:image/")), (tag, attrs)
    assert {"iframe", "object", "embed", "form", "base"}.isdisjoint(tag for tag, _ in read.tags)


def test_the_style_fetches_nothing(text):
    (css,) = re.findall(r"<style>\n(:root.*?)</style>", text, re.DOTALL)
    assert "@import" not in css
    assert "url(" not in css


def test_only_the_two_scripts_of_the_page_may_run(read):
    policy = next(a["content"] for a in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    kinds = [attrs.get("type") for attrs in read.all("script")]
    assert kinds == ["application/json", None, None]
    for script in read.scripts[1:]:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["connect-src"] == rules["base-uri"] == "'none'"
    assert "unsafe" not in rules["script-src"]


def test_hostile_names_are_text(text, read):
    pictures = sum(len(p.pictures) for s in rich().sections for p in s.parts if isinstance(p, Gallery))
    assert len(read.all("img")) == pictures
    assert HOSTILE not in text
    assert "{{ 7 * 7 }}" in text
    assert not re.search(r"<svg[^>]*onload", text)
    data = json.loads(read.scripts[0])
    names = [trace["name"] for trace in data["plots"]["crowd"]["traces"] if "name" in trace]
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in names  # plotly reads tags and entities
    assert "a&amp;amp;b" in names
    assert "<" not in read.scripts[0]
    assert NASTY[4] == "@ink"
    assert "@ink" in names


def test_every_link_of_the_contents_has_its_target_and_no_id_is_there_twice(read):
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"][1:] for attrs in read.all("a")}
    assert targets <= set(ids)
    assert {s.name for s in rich().sections} | {f.name for f in figures_of(rich())[1:]} <= targets


def test_the_headings_are_in_order_and_all_is_named(read):
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert read.all("html")[0]["lang"] == "en"
    plots = [attrs for attrs in read.all("div") if attrs.get("class") == "plot"]
    assert len(plots) == len(figures_of(rich()))
    assert all(attrs["aria-label"] for attrs in plots)
    assert all("alt" in attrs for attrs in read.all("img")), "empty where the caption beside it says the same"


def test_the_tables_have_the_numbers_of_the_figures(read):
    page = rich()
    expected = []
    for part in (page.figure, *(p for s in page.sections for p in s.parts)):
        if isinstance(part, Table):
            expected.append(part)
        elif isinstance(part, Chart | HeatMap):
            expected.append(table_of(part))
    assert len(read.tables) == len(expected)
    for found, table in zip(read.tables, expected, strict=True):
        head, *rows = found
        assert [cell[0].strip() for cell in head] == [name.strip() for name in table.columns]
        assert len(rows) == len(table.rows)
        for cells, values in zip(rows, table.rows, strict=True):
            for (shown, exact), value in zip(cells, values, strict=True):
                said = (shown if exact is None else exact).strip()
                if value is None or value != value:
                    assert shown.strip() == "\u2013"
                    assert said == ""
                elif isinstance(value, str):
                    assert said in (value, f"'{value}")
                else:
                    assert float(said) == pytest.approx(value, rel=1e-8)


def test_the_plots_have_the_numbers_of_the_figures(read):
    plots = json.loads(read.scripts[0])["plots"]
    for figure in figures_of(rich()):
        traces = plots[figure.name]["traces"]
        if isinstance(figure, HeatMap):
            assert traces[0]["z"] == [list(row) for row in figure.values]
            continue
        drawn = [trace for trace in traces if "hovertemplate" in trace]
        assert [t["y"] for t in drawn] == [list(s.y) for s in figure.series]
        assert [t["x"] for t in drawn] == [list(s.x) for s in figure.series]
        for trace, series in zip(drawn, figure.series, strict=True):
            if series.high:
                ends = [a + b for a, b in zip(trace["y"], trace["error_y"]["array"], strict=True)]
                assert ends == pytest.approx(series.high)
        ringed = [trace for trace in traces if trace.get("legendgroup") == "ring"]
        assert sum(len(trace["x"]) for trace in ringed) == sum(len(s.marked) for s in figure.series)


def test_no_number_is_none_and_not_zero():
    series = Series("a", (1.0, 2.0), (None, math.nan), low=(None, 0.1), high=(0.2, None))
    (trace,) = plot(Chart("a", "A", "", "x", "y", (series,))).traces
    assert trace["y"] == [None, None]
    assert trace["error_y"]["array"] == [None, None]
    heat = HeatMap("h", "H", "", "x", "y", ("a", "b"), ("r",), ((None, math.inf),))
    assert plot(heat).traces[0]["z"] == [[None, None]]
    assert plot(heat).traces[1]["text"] == []


def test_classes_on_an_axis_have_their_names_not_numbers():
    chart = Chart("a", "A", "", "class", "y", (Series("s", (1.0, 2.0), (0.3, 0.4)),), x_names=("STAR", "QSO <b>"))
    axis = plot(chart).layout["xaxis"]
    assert (axis["tickvals"], axis["range"]) == ([1, 2], [0.5, 2.5])
    assert axis["ticktext"] == ["STAR", "QSO &lt;b&gt;"]
    assert [row[1] for row in table_of(chart).rows] == ["STAR", "QSO <b>"]
    axes = MatplotlibFigure().subplots()
    draw_on(chart, axes)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["STAR", "QSO <b>"]


@pytest.mark.parametrize("log_x", [False, True])
def test_a_figure_without_numbers_is_laid_out(log_x):
    empty = Chart("e", "Nothing yet", "", "x", "y", (), log_x=log_x, diagonal=True, level=0.5)
    hollow = replace(empty, name="f", series=(Series("a", (), ()), Series("b", (0.0,), (None,), marked=(0,))))
    page = replace(
        small(), figure=empty, sections=(Section("s", "S", (hollow, HeatMap("h", "", "", "", "", (), (), ()))),)
    )
    assert 'id="f"' in render(page)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "\u2013"),
        (math.nan, "\u2013"),
        (math.inf, "∞"),
        (0.0, "0"),
        (0.91234, "0.912"),
        (-0.5, "\u22120.500"),
        (0.0004567, "0.000457"),
        (3e-5, "3e-05"),
        (12.34, "12.3"),
        (4321.9, "4322"),
        (43219.4, "43,219"),
        (1500, "1500"),
        (23508032, "23,508,032"),
        ("1237648720693755918", "1237648720693755918"),
    ],
)
def test_digits_that_a_reader_can_use(value, said):
    assert say(value) == said


def test_a_column_of_whole_floats_has_no_decimals():
    made = text_table(Table("t", ("depth", "f1"), ((0.0, 1.0), (17.0, 0.5))))
    assert [[cell.text for cell in row] for row in made.rows] == [["0", "1.000"], ["17", "0.500"]]


def test_a_long_table_is_folded(text):
    assert re.search(r'<details class="table"><summary>Every cell of the study \(45 rows\)', text)


def test_pictures_must_be_pictures():
    gallery = Gallery("g", (Picture(png(), "fine"), Picture(b"GIF89a", "not")))
    with pytest.raises(DataError, match="neither PNG nor JPEG"):
        render(replace(small(), sections=(Section("s", "S", (gallery,)),)))


def test_two_figures_of_one_name_are_refused():
    with pytest.raises(ValueError, match="'depth'"):
        render(replace(small(), sections=(Section("s", "S", (depth_chart(),)),)))


def test_the_file_is_whole_or_not_there(tmp_path):
    save_page(small(), tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text("utf-8") == render(small())
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["report.html"]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't write"):
        save_page(small(), tmp_path / "file" / "report.html")


def test_half_a_character_does_not_stop_a_report(tmp_path):
    save_page(replace(small(), title="half \ud800"), tmp_path / "report.html")
    assert "half ?" in (tmp_path / "report.html").read_text("utf-8")


def test_no_two_series_look_alike():
    assert len({look(i) for i in range(28)}) == 28


def test_a_long_name_keeps_both_ends():
    assert shorten("a" * 30 + "b" * 30, 11) == "aaaaa…bbbbb"
    assert shorten("short") == "short"


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_numbers_in_a_matrix_are_readable_at_every_step_of_the_scale():
    steps = 40
    heat = replace(confusion("confusion-a"), columns=("c",) * (steps + 1), rows=("r",),
                   values=(tuple(k / steps for k in range(steps + 1)),))  # fmt: skip
    inks = plot(heat).traces[1]["textfont"]["color"]
    for theme, scale in ((LIGHT, SCALE), (DARK, NIGHT_SCALE)):
        for k, ink in enumerate(inks):
            place = k / steps * (len(scale) - 1)
            a, b = scale[int(place)], scale[min(int(place) + 1, len(scale) - 1)]
            mixed = [
                round(int(a[i : i + 2], 16) * (1 - place % 1) + int(b[i : i + 2], 16) * (place % 1)) for i in (1, 3, 5)
            ]
            assert contrast("#{:02x}{:02x}{:02x}".format(*mixed), theme[ink[1:]]) >= 4.5, (k, ink)


def test_a_share_just_below_all_is_not_all():
    assert [percent(share) for share in (1, 2999 / 3000, 0.996, 0.5, 0.0123, 0)] == [
        *("100 %", "99.9 %", "99.6 %", "50 %", "1.2 %", "0 %")
    ]
