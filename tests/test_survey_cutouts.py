"""Cutouts of a catalogue from any survey: the client, the state and the checks are those of SDSS."""

from __future__ import annotations

import json

import pytest

import skythaw as sky
from helpers_sdss import requests_of, write_catalog
from sdss_server import serving
from sdss_universe import Universe
from skythaw.data.cutouts import read_cutouts
from skythaw.data.fits import probe_fits
from skythaw.data.sources.surveys.sky_surveys import SURVEYS, find_survey
from skythaw.errors import DataError, SkythawError, UnknownNameError

UNIVERSE = Universe(12, 4)


@pytest.fixture
def asked(tmp_path):
    """Ask the stand-in for cutouts; what came, and what the server was asked."""

    def ask(survey, rows=None, config=None, **options):
        catalog = write_catalog(tmp_path / "c.csv", UNIVERSE, rows)
        if outside := options.pop("outside", None):
            with catalog.open("a") as file:
                file.writelines(f"far{i},{ra},{dec},STAR,1,1,1,20\n" for i, (ra, dec) in enumerate(outside))
        log, out = tmp_path / "log", tmp_path / "out.parquet"
        with serving({"objects": 12, "seed": 4, "log": str(log), **(config or {})}) as url:
            options = {"rate": 1000, "timeout": 5, "attempts": 2, "progress": False, **options}
            summary = sky.fetch_cutouts(out, survey=survey, catalog=catalog, base_url=url, **options)
        return summary, read_cutouts(out), [each["query"] for each in requests_of(log)]

    return ask


@pytest.mark.parametrize(
    ("survey", "key", "value"),
    [
        ("dss2", "hips", "CDS/P/DSS2/color"),
        ("DSS2", "hips", "CDS/P/DSS2/color"),
        ("CDS/P/DSS2/color", "hips", "CDS/P/DSS2/color"),
        ("ls-dr10", "layer", "ls-dr10"),
        ("legacy:ls-dr9", "layer", "ls-dr9"),
        ("CDS/P/Rare/color", "hips", "CDS/P/Rare/color"),
    ],
)
def test_colour_images(asked, survey, key, value):
    scale = {} if survey in ("dss2", "DSS2", "CDS/P/DSS2/color", "ls-dr10") else {"scale": 0.5}
    summary, cutouts, queries = asked(survey, **scale)
    assert (summary.asked, summary.fetched) == (12, 12)
    images = [each for each in queries if key in each]
    assert {each[key] for each in images} == {value}
    assert set(cutouts.numbers("pixel_scale")) == {scale.get("scale", find_survey(survey).scale)}
    assert set(cutouts.table["survey"].to_pylist()) == {find_survey(survey).name}
    assert cutouts.recipe["service"] == ("hips2fits" if key == "hips" else "legacy")
    assert cutouts.labels.tolist() == [row["class"] for row in UNIVERSE.rows]


@pytest.mark.parametrize(
    ("survey", "bands", "wanted"),
    [
        ("ls-dr10", "", ("g", "r", "i", "z")),
        ("ls-dr9", "gz", ("g", "z")),
        ("2mass", "", ("J", "H", "K")),
        ("dss2", "red,blue", ("red", "blue")),
        ("CDS/P/DSS2/red", "", ("red",)),
        ("legacy:ls-dr9", "gr", ("g", "r")),
    ],
)
def test_fits_band_by_band(asked, survey, bands, wanted):
    summary, cutouts, _ = asked(survey, images="fits", bands=bands, size=32, scale=0.5)
    assert summary.fetched == 12
    assert {probe_fits(data).bands for _, data, _ in cutouts.images()} == {wanted}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"survey": "dss2"}, "black"),
        ({"survey": "dss2", "images": "fits"}, "black"),
        ({"survey": "ls-dr10"}, "black"),
        ({"survey": "ls-dr10", "config": {"blank": 128}}, "black"),
        ({"survey": "ls-dr10", "images": "fits"}, "outside"),
    ],
)
def test_a_position_outside_the_survey_has_its_reason_and_the_others_go_on(asked, options, reason):
    summary, cutouts, _ = asked(**options, outside=[(200.0, -80.0), (201.0, -81.0)])
    assert summary.rejected == {reason: 2}
    assert len(cutouts) == summary.fetched == 12


def test_the_same_call_asks_for_nothing_twice(asked):
    _, first, queries = asked("dss2")
    again, second, more = asked("dss2")
    assert (again.fetched, len(more)) == (12, len(queries))
    assert [sha for _, _, sha in first.images()] == [sha for _, _, sha in second.images()]
    with pytest.raises(DataError, match=r"out.parquet.cutouts belongs to another request \(.*dss2"):
        asked("2mass")


def test_faults_that_pass_are_asked_again(asked):
    config = {"faults": {"html503": 0.2, "cut": 0.2}}
    assert asked("dss2", config=config, attempts=5)[0].fetched == 12


@pytest.mark.parametrize(
    ("survey", "words"),
    [
        ("pannstars", "unknown survey 'pannstars'; did you mean 'panstarrs'"),
        ("ls-dr1O", "did you mean 'ls-dr10'"),
        ("CDS/P/DSS2/colour", "did you mean 'CDS/P/DSS2/color'"),
        ("nothing like it", "known: '2mass', 'allwise'"),
    ],
)
def test_a_survey_that_does_not_exist_is_answered_with_the_nearest(asked, tmp_path, survey, words):
    with pytest.raises(UnknownNameError) as caught:
        asked(survey, scale=1.0)
    assert words in str(caught.value)
    assert not list(tmp_path.glob("out*"))


def test_a_layer_that_does_not_exist_is_no_fault_of_the_positions(asked):
    with pytest.raises(DataError, match=r"refused: 12; of the first: no such layer \("):
        asked("legacy:ls-dr99", scale=1.0)


def test_a_column_of_the_catalogue_that_the_file_has_itself_is_named(tmp_path):
    catalog = write_catalog(tmp_path / "c.csv", UNIVERSE)
    head, *rows = catalog.read_text().splitlines()
    catalog.write_text("\n".join([f"{head},survey", *(f"{row},mine" for row in rows)]))
    with serving({"objects": 12, "seed": 4}) as url:
        common = {"base_url": url, "rate": 1000, "progress": False}
        summary = sky.fetch_cutouts(tmp_path / "o.parquet", survey="dss2", catalog=catalog, **common)
    assert summary.notes[-1] == "the catalogue's column survey is not in the file, which has its own"
    assert set(read_cutouts(tmp_path / "o.parquet").table["survey"].to_pylist()) == {"dss2"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"survey": "CDS/P/Rare/color"}, "say --scale, arcsec per pixel"),
        ({"survey": "dss2", "bands": "red"}, "bands are for FITS images"),
        ({"survey": "ls-dr9", "images": "fits", "bands": "u"}, "ls-dr9 has no band 'u'; it has g, r, z"),
        ({"survey": "CDS/P/DSS2/red"}, "has one band and no colours: say --images fits"),
        ({"survey": "dss2", "images": "png"}, "no such images: 'png'; known: 'fits', 'jpeg'"),
        ({"survey": "dss2", "size": 4}, "size 4 should be 8 to 2048 pixels"),
        ({"survey": "dss2", "scale": 100}, "should be 0.015 to 60 arcsec per pixel; dss2 has about 1"),
        ({"survey": "legacy:x", "images": "fits", "scale": 1}, "say which bands legacy:x has"),
    ],
)
def test_requests_that_can_not_be_met(asked, tmp_path, options, words):
    with pytest.raises(SkythawError) as caught:
        asked(**options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out*"))


def test_the_command(skythaw, tmp_path):
    catalog = write_catalog(tmp_path / "c.csv", UNIVERSE)
    with serving({"objects": 12, "seed": 4}) as url:
        common = ("--catalog", catalog, "--base-url", url, "--rate", 1000)
        done = skythaw("data", "cutouts", "a.parquet", "--survey", "dss2", *common, "--json", cwd=tmp_path)
        bad = skythaw("data", "cutouts", "b.parquet", "--survey", "dss3", *common, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fetched"] == 12
    assert bad.returncode == 2
    assert bad.stderr == "error: unknown survey 'dss3'; did you mean 'dss2'?\n"


@pytest.mark.parametrize("name", SURVEYS)
def test_every_survey_of_the_table_says_what_it_is(name):
    found = find_survey(name)
    assert found.name == name
    assert found.color
    assert found.bands
    assert found.scale
