"""Figures as pictures for papers."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from PIL import Image

from helpers_page import calibration, confusion, crowd, depth_chart, size_chart, wide_heat
from skythaw.errors import DataError, OutputError
from skythaw.report.figures.elements import Chart, HeatMap, Series
from skythaw.report.figures.matplotlib_figures import save_figure, save_figures


def test_each_figure_is_saved_twice_by_its_name(tmp_path):
    files = save_figures([depth_chart(), confusion("confusion-a")], tmp_path / "figures")
    names = ["depth.png", "depth.svg", "confusion-a.png", "confusion-a.svg"]
    assert [file.name for file in files] == names
    assert sorted(file.name for file in (tmp_path / "figures").iterdir()) == sorted(names)
    with Image.open(files[0]) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=1)
        assert image.width == 2100


@pytest.mark.parametrize("make", [size_chart, calibration, crowd, wide_heat])
@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_the_same_figure_is_the_same_file(tmp_path, make, kind):
    for name in ("one", "two"):
        save_figure(make(), tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_names_are_not_read_as_formulas(tmp_path):
    chart = replace(depth_chart("odd", ("_hidden", "$x_{1", "a\nb", "$\\frac{")), title="costs $5 or $\\no$")
    save_figure(chart, tmp_path / "odd.png")


def test_figures_without_numbers_are_drawn(tmp_path):
    hollow = Series("a", (1.0, 10.0), (None, None), (None, None), (None, None), marked=(0,))
    for i, series in enumerate(((), (hollow,))):
        save_figure(Chart("e", "E", "", "x", "y", series, True, True, 0.5), tmp_path / f"{i}.png")
    save_figure(HeatMap("h", "H", "", "x", "y", ("a",), ("b",), ((None,),)), tmp_path / "heat.png")


def test_an_unknown_ending_and_a_folder_that_is_a_file(tmp_path):
    with pytest.raises(OutputError, match=r"must end in \.png, \.svg, \.pdf"):
        save_figure(depth_chart(), tmp_path / "depth.gif")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't write"):
        save_figure(depth_chart(), tmp_path / "file" / "depth.png")


def test_without_matplotlib_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DataError, match=r"skythaw\[plot\]"):
        save_figure(depth_chart(), tmp_path / "depth.png")
