"""No result replaces what it was made of: images, tables that name them, files that are no pages."""

from __future__ import annotations

from pathlib import Path

import pytest

import skythaw
from helpers_data import encode, picture
from skythaw.data.cutouts import write_cutouts
from skythaw.errors import OutputError
from skythaw.explain.explanation_figure import check_picture
from skythaw.predict.find_inputs import find_inputs
from skythaw.report.page.html_page import check_page

PNG = encode(picture(1, 40), "PNG")


def test_predictions_replace_no_set_of_images_and_no_table_of_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a.png").write_bytes(PNG)
    write_cutouts(Path("in/set.parquet"), [{"object_id": "1", "label": None, "image": PNG}], [], {})
    Path("list.csv").write_text("file\nin/a.png\n")
    for given, out in (("in", "in/set.parquet"), ("in/set.parquet", "in/set.parquet"), ("list.csv", "./list.csv")):
        with pytest.raises(OutputError, match=rf"can't write {out.removeprefix('./')}: it holds images, or names them"):
            find_inputs(["in/a.png", given], (Path(out),))
    Path("out.csv").write_text("object_id,p_STAR,label,status\na,1,STAR,ok\n")  # of an earlier call: it is replaced
    Path("in/torn.parquet").write_bytes(b"PAR1")
    assert len(find_inputs(["in/a.png", "out.csv"], [Path("out.csv")])) == 1
    assert len(find_inputs(["in"], [Path("in/torn.parquet")])) == 2


def test_a_picture_replaces_not_the_image_that_it_explains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(PNG)
    Path("b.png").symlink_to("a.png")
    for image in ("./a.png", "b.png", str(tmp_path / "a.png")):
        with pytest.raises(OutputError, match=r"can't write a\.png: it is the image itself"):
            skythaw.explain("no-bundle", image, "a.png")
    check_picture(Path("c.png"), "a.png")
    check_picture(Path("a.png"), "set.parquet:a.png")


def test_a_page_replaces_nothing_but_a_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("labels.csv").write_text("file,label\n")
    Path("old.html").write_text("<!DOCTYPE html>\n<html></html>")
    Path("empty.html").touch()
    with pytest.raises(OutputError, match=r"can't write labels\.csv: it is there already, and is no web page"):
        check_page("labels.csv")
    with pytest.raises(OutputError, match="it is a folder"):
        check_page(tmp_path)
    for fine in (None, "new.html", "old.html", Path("empty.html")):
        check_page(fine)
