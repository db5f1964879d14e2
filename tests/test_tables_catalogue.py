"""Catalogues joined to cutouts: five kinds of file, by id or by place, one to one; what does not fit is refused."""

from __future__ import annotations

import gzip
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers_data import labelled, make
from skythaw.data.pixel_store import open_store
from skythaw.errors import DataError
from skythaw.spec import Numbers
from skythaw.tables.catalogue import JoinReport, join, match_positions
from skythaw.tables.open_numbers import column_kinds, numbers_sha256, open_numbers

COUNT = 12
ARCSEC = 1 / 3600
RA, DEC = 180 + 0.01 * np.arange(COUNT), np.linspace(-1, 1, COUNT)
MAGNITUDE = 17 + 0.1 * np.arange(COUNT)
CUTOUTS = labelled(["STAR", "GALAXY"] * 6, ra=RA, dec=DEC)
IDS = CUTOUTS.object_ids
RADIUS = Numbers(columns=("modelMag_u",))


def catalogue(path, **columns):
    """Write a table in the format of the path's ending."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        formats = {".vot": "votable", ".fits": "fits", ".ecsv": "ascii.ecsv"}
        Table(columns).write(path, format=formats.get(path.suffix, "ascii.csv"))
    return path


def joined(path, settings=RADIUS, cutouts=CUTOUTS):
    table, report = join(path, cutouts, settings)
    assert table["object_id"].to_pylist() == cutouts.object_ids
    return table, report


@pytest.mark.parametrize("ending", ["csv", "txt", "ecsv", "vot", "fits", "parquet"])
def test_five_kinds_of_file_are_joined_by_id_in_any_order(tmp_path, ending):
    order = np.random.default_rng(0).permutation(COUNT)
    ids = np.array(IDS)[order]
    table, report = joined(catalogue(tmp_path / f"c.{ending}", objID=ids.tolist(), modelMag_u=MAGNITUDE[order]))
    np.testing.assert_allclose(table["modelMag_u"].to_numpy(), MAGNITUDE)
    assert report == JoinReport("object_id", COUNT, 0, 0, 0)


def test_the_header_that_numpy_writes_is_read(tmp_path):
    rows = np.stack([RA, DEC, MAGNITUDE], axis=1)
    np.savetxt(tmp_path / "c.csv", rows, delimiter=",", header="of some night\nra,dec,modelMag_u")
    table, report = joined(tmp_path / "c.csv")
    np.testing.assert_allclose(table["modelMag_u"].to_numpy(), MAGNITUDE)
    assert report.matched == COUNT


def test_cutouts_without_a_row_have_null_and_are_counted(tmp_path):
    path = catalogue(tmp_path / "c.csv", object_id=[*IDS[2:], "other"], modelMag_u=[*MAGNITUDE[2:], 20.0])
    table, report = joined(path)
    assert table["modelMag_u"].to_pylist()[:3] == [None, None, pytest.approx(MAGNITUDE[2])]
    assert report == JoinReport("object_id", 10, 2, 0, 1)
    assert report.sentence() == (
        "10 of 12 cutouts have a row in the catalogue, found by object_id; 2 have none. "
        "Rows of the catalogue that are not used: 1."
    )


def test_short_numbers_that_agree_by_chance_join_nothing(tmp_path):
    ids = [*(f"{100 + n}" for n in range(COUNT - 1)), "7"]
    cutouts = labelled(["STAR", "GALAXY"] * 6, object_id=ids)
    rows = {"id": np.arange(COUNT), "modelMag_u": MAGNITUDE}
    with pytest.raises(DataError, match=r"its id is that of only 1 of 12 cutouts .such as '7'., as where short"):
        joined(catalogue(tmp_path / "c.csv", **rows), cutouts=cutouts)
    few = catalogue(tmp_path / "f.csv", id=["104", "101"], modelMag_u=[17.0, 18.0])
    assert joined(few, cutouts=cutouts)[1].matched == 2
    long = catalogue(
        tmp_path / "l.csv", id=[*IDS[:1], *(f"{n}" for n in range(COUNT))], modelMag_u=[17.0] * (COUNT + 1)
    )
    assert joined(long)[1].matched == 1


def test_row_numbers_are_no_ids_where_the_positions_say_otherwise(tmp_path):
    numbered = labelled(["STAR", "GALAXY"] * 6, object_id=[f"{n}" for n in range(COUNT)], ra=RA, dec=DEC)
    order = np.roll(np.arange(COUNT), 1)
    rows = {"id": np.arange(COUNT), "ra": RA[order], "dec": DEC[order], "modelMag_u": MAGNITUDE[order]}
    table, report = joined(catalogue(tmp_path / "c.csv", **rows), cutouts=numbered)
    assert (report.how, report.matched) == ("position", COUNT)
    np.testing.assert_allclose(table["modelMag_u"].to_numpy(), MAGNITUDE)
    right = catalogue(tmp_path / "d.csv", id=np.arange(COUNT), ra=RA + 1 / 3600, dec=DEC, modelMag_u=MAGNITUDE)
    assert joined(right, cutouts=numbered)[1].how == "object_id"


@pytest.mark.parametrize("ids", [{}, {"name": [f"SDSS J{n}" for n in range(COUNT)]}])
@pytest.mark.parametrize("ending", ["csv", "fits", "parquet"])
def test_without_ids_that_match_rows_are_found_by_position(tmp_path, ending, ids):
    order = np.random.default_rng(1).permutation(COUNT)
    near = {"RA": RA[order] - 360 + 0.3 * ARCSEC, "DEC": DEC[order]}
    table, report = joined(catalogue(tmp_path / f"c.{ending}", **ids, **near, modelMag_u=MAGNITUDE[order]))
    np.testing.assert_allclose(table["modelMag_u"].to_numpy(), MAGNITUDE)
    assert report == JoinReport("position", COUNT, 0, 0, 0)


def test_positions_may_be_sexagesimal(tmp_path):
    def clock(degrees):
        hours = degrees / 15
        return f"{int(hours):02d}:{int(hours * 60) % 60:02d}:{hours * 3600 % 60:07.4f}"

    path = catalogue(tmp_path / "c.csv", ra=[clock(each) for each in RA], dec=DEC, modelMag_u=MAGNITUDE)
    assert joined(path)[1] == JoinReport("position", COUNT, 0, 0, 0)


def test_a_cutout_without_a_position_has_no_row_and_is_counted(tmp_path):
    path = catalogue(tmp_path / "c.csv", ra=RA, dec=DEC, modelMag_u=MAGNITUDE)
    ra, dec = RA.copy(), DEC.copy()
    ra[[0, 3]], dec[[0, 5]] = -9999, [-999, np.nan]
    table, report = joined(path, cutouts=labelled(["STAR", "GALAXY"] * 6, ra=ra, dec=dec))
    assert [row for row, value in enumerate(table["modelMag_u"].to_pylist()) if value is None] == [0, 3, 5]
    assert report == JoinReport("position", 9, 3, 0, 3, 3)
    assert "3 have none (3 of them have no position)" in report.sentence()
    dec[2] = 100
    with pytest.raises(DataError, match=r"column 'dec' holds 100, which is no angle in degrees"):
        joined(path, cutouts=labelled(["STAR", "GALAXY"] * 6, ra=ra, dec=dec))


@pytest.mark.parametrize("ending", ["csv", "parquet", "ecsv"])
def test_a_row_without_a_position_belongs_to_no_cutout_and_is_counted(tmp_path, ending):
    ra, dec = RA.copy(), DEC.copy()
    ra[[0, 3]], dec[[0, 5]] = -9999, [-999, np.nan]
    table, report = joined(catalogue(tmp_path / f"c.{ending}", ra=ra, dec=dec, modelMag_u=MAGNITUDE))
    assert [row for row, value in enumerate(table["modelMag_u"].to_pylist()) if value is None] == [0, 3, 5]
    assert report == JoinReport("position", 9, 3, 0, 3, nowhere=3)
    assert report.sentence().endswith("Rows of the catalogue that are not used: 3 (3 of them have no position).")


def test_a_position_may_be_missing_among_sexagesimal_ones(tmp_path):
    clock = [f"12:00:{2.4 * row:06.3f}" for row in range(COUNT)]
    path = catalogue(tmp_path / "c.csv", ra=["-9999", *clock[1:]], dec=DEC, modelMag_u=MAGNITUDE)
    assert joined(path)[1] == JoinReport("position", COUNT - 1, 1, 0, 1, nowhere=1)


def test_a_wider_radius_finds_more(tmp_path):
    path = catalogue(tmp_path / "c.csv", ra=RA, dec=DEC + np.arange(COUNT) * ARCSEC, modelMag_u=MAGNITUDE)
    assert joined(path)[1].matched == 1
    assert joined(path, Numbers(radius=5.5))[1] == JoinReport("position", 6, 6, 0, 6)


def positions(*offsets):
    """Degrees [(ra, dec) object] of objects that are so many arcsec north of the equator."""
    return np.array([[10.0] * len(offsets), [each * ARCSEC for each in offsets]])


@pytest.mark.parametrize(
    ("ours", "theirs", "row", "ambiguous"),
    [
        ([0], [0.2, 0.5], [0], 0),  # the second is more than twice as far
        ([0], [0.4, 0.6], [-1], 1),
        ([0], [0.0, 0.0], [-1], 1),
        ([0], [0.4, 1.6], [0], 0),  # the second is outside
        ([0, 0.9], [0.1], [0, -1], 0),  # one to one: the nearer has the row
        ([0, 0.8], [0.1], [0, -1], 0),
        ([0, 1.0], [0.5], [-1, -1], 2),
        ([0, 30], [30.3, 0.3], [1, 0], 0),
        ([np.nan, 5], [5.0, np.nan], [-1, 0], 0),
        ([0], [40.0], [-1], 0),
        ([0], [], [-1], 0),
    ],
)
def test_the_nearest_is_taken_if_it_is_clearly_the_nearest(ours, theirs, row, ambiguous):
    found, unclear = match_positions(positions(*ours), positions(*theirs), 1.0)
    assert (found.tolist(), unclear) == (row, ambiguous)


@given(st.lists(st.integers(0, 40), max_size=12), st.lists(st.integers(0, 40), max_size=12))
@settings(max_examples=60, deadline=None)
def test_no_row_is_given_twice_nor_from_afar(ours, theirs):
    ours, theirs = ([0.25 * each for each in side] for side in (ours, theirs))
    found, ambiguous = match_positions(positions(*ours), positions(*theirs), 1.0)
    given_rows = found[found >= 0].tolist()
    assert len(set(given_rows)) == len(given_rows)
    assert 0 <= ambiguous <= (found < 0).sum()
    for place, row in enumerate(found):
        assert row < 0 or abs(ours[place] - theirs[row]) <= 1.0 + 1e-6


REFUSED = {
    "same id twice": ({"object_id": [*IDS, "o3"], "u": range(13)}, ["object_id 'o3' is in two rows"]),
    "rounded by a spreadsheet": ({"objid": ["1.24E+18"] * COUNT, "u": MAGNITUDE}, ["spreadsheet"]),
    "decimal ids": ({"objid": 1.5e18 + 1000 * np.arange(COUNT), "u": MAGNITUDE}, ["objid", "digits"]),
    "no id and no position": ({"u": MAGNITUDE}, ["no column of ids", "no position"]),
    "other objects": (
        {"object_id": [f"x{n}" for n in range(COUNT)], "u": MAGNITUDE},
        ["none of its object_id", "'o0'"],
    ),
    "other sky": ({"ra": RA + 90, "dec": DEC, "u": MAGNITUDE}, ["within 1 arcsec", "same objects"]),
    "no angle": ({"ra": RA, "dec": DEC + 100, "u": MAGNITUDE}, ["'dec' holds 99", "degrees"]),
    "text for degrees": ({"ra": ["north"] * COUNT, "dec": DEC, "u": MAGNITUDE}, ["'ra' should hold positions"]),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("ending", ["csv", "fits", "parquet"])
def test_a_catalogue_that_does_not_fit_is_refused_in_one_line(tmp_path, case, ending):
    columns, parts = REFUSED[case]
    path = catalogue(tmp_path / f"c.{ending}", **{name: list(values) for name, values in columns.items()})
    with pytest.raises(DataError) as error:
        joined(path)
    assert "\n" not in str(error.value)
    for part in (str(path), *parts):
        assert part in str(error.value)


def test_cutouts_without_positions_need_ids(tmp_path):
    path = catalogue(tmp_path / "c.csv", ra=RA, dec=DEC)
    with pytest.raises(DataError, match="the cutouts have no ra and no dec"):
        join(path, labelled(["STAR"] * COUNT), RADIUS)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c.csv", b"", "catalogue"),
        ("c.csv", b"object_id,u\n", "no rows"),
        ("c.fits", b"SIMPLE  =                    T" + b" " * 2000, "can't read"),
        ("c.fits", b"\x00" * 99, "can't read"),
        ("c.xml", b"<html></html>", "it is a web page"),
        ("c.xml", b"<svg></svg>", "no VOTable"),
        ("c.csv", gzip.compress(b"object_id,u\n", mtime=0), "no rows"),
        ("c.dat", b"# %ECSV 1.0\n", "can't read"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as error:
        join(tmp_path / name, CUTOUTS, RADIUS)
    assert "\n" not in str(error.value)


def test_a_fits_header_that_promises_too_much_is_refused(tmp_path):
    path = catalogue(tmp_path / "c.fits", object_id=IDS, u=MAGNITUDE)
    content = path.read_bytes()
    naxis = b"NAXIS2  =                   12"
    assert naxis in content
    path.write_bytes(content.replace(naxis, b"NAXIS2  =         999999999999"))
    with pytest.raises(DataError, match="is truncated"):
        join(path, CUTOUTS, RADIUS)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_never_ends_is_not_waited_for(tmp_path, kind):
    path = Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path := tmp_path / "c.csv")
    with pytest.raises(DataError, match="is a pipe or a device, not a file"):
        join(path, CUTOUTS, RADIUS)


def test_texts_are_bounded_before_they_are_all_there(tmp_path, monkeypatch):
    """A column that repeats one text takes a few bytes in the file."""
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"object_id": pa.array(["a" * 1000] * 50_000).dictionary_encode()}), path)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr("skythaw.tables.catalogue_files.LARGEST_TEXTS", 20 << 20)
    with pytest.raises(DataError, match="its texts take more than 20 MiB; leave out the columns of texts"):
        join(path, CUTOUTS, RADIUS)


def test_decimal_fractions_of_a_database_are_numbers(tmp_path):
    magnitudes = pa.array([Decimal(f"{each:.2f}") for each in MAGNITUDE])
    pq.write_table(pa.table({"object_id": IDS, "modelMag_u": magnitudes}), tmp_path / "c.parquet")
    table, _ = joined(tmp_path / "c.parquet")
    np.testing.assert_allclose(table["modelMag_u"].to_numpy(), MAGNITUDE)


def test_there_is_no_file():
    with pytest.raises(DataError, match="No such file"):
        join(CUTOUTS.paths[0] / "none.csv", CUTOUTS, RADIUS)


@pytest.fixture
def survey(tmp_path):
    cutouts = make(tmp_path / "survey.parquet", COUNT, field={n: n % 5 for n in range(COUNT)})
    path = catalogue(tmp_path / "c.csv", object_id=cutouts.object_ids, modelMag_u=MAGNITUDE, modelMag_g=MAGNITUDE**1.02)
    return cutouts, path, tmp_path / "cache"


BOTH = Numbers(columns=("modelMag_u", "modelMag_g"), measured=True)


def test_columns_and_measured_numbers_come_together(survey):
    cutouts, path, cache = survey
    numbers, sentences = open_numbers(BOTH, path, cutouts, lambda: open_store(cutouts, cache), cache)
    assert numbers.ids == tuple(cutouts.object_ids)
    assert len(numbers.names) == 3 + 47
    text = " ".join(sentences)
    assert "12 of 12 cutouts have a row" in text
    assert "Taken as magnitudes: modelMag_u, modelMag_g." in text
    assert "47 numbers are measured" in text


def test_the_images_are_not_opened_for_columns_alone(survey):
    cutouts, path, cache = survey
    settings = Numbers(columns=("modelMag_u", "field"), allow_leak=("field",))
    numbers, _ = open_numbers(settings, path, cutouts, lambda: pytest.fail("opened"), cache)
    assert numbers.names == ("modelMag_u", "field")  # one of the catalogue, one of the cutouts


def test_bands_that_may_be_fluxes_are_named(survey):
    cutouts, path, cache = survey
    settings = Numbers(columns=("g", "r"))
    for times, said in ((1, False), (90, True)):
        path = catalogue(
            path.parent / f"{times}.csv", object_id=cutouts.object_ids, g=MAGNITUDE * times, r=times * MAGNITUDE + 1
        )
        _, sentences = open_numbers(settings, path, cutouts, None, cache)
        assert any("If g, r are fluxes, give them by names such as flux_g" in text for text in sentences) == said


def test_other_objects_are_read_as_the_training_objects(survey):
    cutouts, path, cache = survey
    settings = Numbers(columns=("modelMag_u",))
    kinds = column_kinds(settings, path, cutouts)
    one = catalogue(path.parent / "one.csv", object_id=[cutouts.object_ids[0]], modelMag_u=[17.5])
    numbers, sentences = open_numbers(settings, one, cutouts, None, cache, kinds=kinds)
    assert numbers.values[0, 0] == 17.5
    assert numbers.missing == {"modelMag_u": 11}
    assert "Missing values, of 12 objects: modelMag_u 11." in sentences
    with pytest.raises(DataError, match="only 1 of 12 cutouts"):
        open_numbers(settings, one, cutouts, None, cache)


def test_a_leak_by_name_is_refused_before_its_values_are_read(survey):
    cutouts, path, cache = survey
    with pytest.raises(DataError, match="'label' is a leak"):
        open_numbers(Numbers(columns=("label",)), path, cutouts, None, cache)


def test_the_checksum_knows_what_decides_the_numbers(survey):
    cutouts, path, _ = survey
    first = numbers_sha256(BOTH, path, cutouts)
    assert first == numbers_sha256(BOTH.model_copy(update={"allow_leak": ("field",)}), path, cutouts)
    assert first != numbers_sha256(BOTH.model_copy(update={"measured": False}), path, cutouts)
    assert first != numbers_sha256(BOTH, None, cutouts)
    path.write_text(path.read_text().replace("17.1", "17.15"))
    assert first != numbers_sha256(BOTH, path, cutouts)
    with pytest.raises(DataError, match="can't read the catalogue"):
        numbers_sha256(BOTH, path.parent / "none.csv", cutouts)
