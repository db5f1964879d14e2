"""`data inspect`: counts, broken images, duplicates, sizes and overlaps; and the contact sheet."""

from __future__ import annotations

import json
import os
import re
import tomllib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers_data import FIELD, SKY, encode, make, picture, rows
from skythaw.data.cutouts import write_cutouts
from skythaw.data.fits import encode_fits
from skythaw.data.inspect import contact_sheet, inspect
from skythaw.errors import DataError, OutputError
from skythaw.spec import Stretch


def test_a_sound_file(tmp_path):
    make(tmp_path / "a.parquet")
    report = inspect(tmp_path / "a.parquet")
    assert json.loads(json.dumps(report)) == {
        "schema": 1,
        "objects": 36,
        "classes": {"GALAXY": 12, "QSO": 12, "STAR": 12},
        "unlabelled": 0,
        "broken": [],
        "duplicates": [],
        "near_duplicates": [],
        "conflicts": [],
        "warnings": [],
        "image_sizes": {"16x16": 36},
        "kinds": {"JPEG or PNG": 36},
        "bands": ["red", "green", "blue"],
        "percentiles": None,
        "stretch": None,
        "overlaps": {"basis": "field", "cutouts": 36, "pairs": None},
        "columns": ["object_id", "label", "run", "camcol", "field", "sha256"],
        "recipe": {"source": "test"},
    }


def test_everything_that_can_be_wrong(tmp_path):
    changes = {
        1: encode(picture(1), "PNG"),
        2: encode(picture(1), "PNG", compress_level=0),
        5: rows(7)[6]["image"],
        8: b"not an image",
        9: encode(np.zeros((8, 12, 3), np.uint8)),
        10: b"not an image",
    }
    make(tmp_path / "a.parquet", 13, image=changes, label={0: None, 3: None})
    report = inspect(tmp_path / "a.parquet")
    assert report["unlabelled"] == 2
    assert report["classes"] == {"GALAXY": 3, "QSO": 4, "STAR": 4}
    assert [each["object_id"] for each in report["broken"]] == ["obj00008", "obj00010"]
    assert all("not a JPEG, PNG or FITS file" in each["reason"] for each in report["broken"])
    assert report["duplicates"] == [["obj00001", "obj00002"], ["obj00005", "obj00006"], ["obj00008", "obj00010"]]
    assert report["image_sizes"] == {"16x16": 10, "12x8": 1}
    assert report["overlaps"] == {"basis": "field", "cutouts": 12, "pairs": None}


def test_values_of_floats_suggest_a_stretch(tmp_path, skythaw):
    """What is printed can be pasted into a study."""
    values = np.linspace(0, 1, 36 * 16 * 16, dtype=np.float32).reshape(36, 16, 16, 1) * np.array([1, 1000], np.float32)
    path = make(tmp_path / "a.parquet", image={n: encode_fits(v, "gr") for n, v in enumerate(values)}).paths[0]
    report = inspect(path)
    assert report["kinds"] == {"FITS": 36}
    assert report["bands"] == ["g", "r"]
    right = {p: pytest.approx(float(p) / 100, abs=1e-4) for p in ("1", "50", "99", "99.9")}
    assert report["percentiles"]["g"] == right
    assert report["stretch"] == {"kind": "asinh", "low": [0.01, 10], "high": [0.999, 999], "softening": [10]}
    told = skythaw("data", "inspect", path).stdout
    line = next(line for line in told.splitlines() if line.startswith("stretch = "))
    assert Stretch.model_validate(tomllib.loads(line)["stretch"]) == Stretch.model_validate(report["stretch"])


def test_the_contact_sheet_shows_three_bands_the_reddest_as_red(tmp_path):
    """Of u, g, r, i, z these are i, r and g; a single band is grey."""
    for bands, shown in (("ugriz", (3, 2, 1)), ("grz", (2, 1, 0)), ("r", (0, 0, 0))):
        images = {n: np.full((16, 16, len(bands)), 0, np.float32) for n in range(9)}
        for image in images.values():
            image[8:] = np.linspace(0.2, 1, len(bands))
            image[4:8] = 1
        make(tmp_path / "a.parquet", 9, image={n: encode_fits(image, bands) for n, image in images.items()})
        contact_sheet(tmp_path / "a.parquet", tmp_path / "sheet.png", per_class=1)
        sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
        tile = sheet[4:20, -20:-4]
        value = np.arcsinh(10 * np.linspace(0.2, 1, len(bands))[list(shown)]) / np.arcsinh(10)
        assert np.allclose(tile[10, 8], 255 * value, atol=1)
        assert (tile[5, 8] == 255).all()
        assert (tile[0, 0] == 0).all()


def test_a_flipped_bit_is_broken(tmp_path):
    path = make(tmp_path / "a.parquet", 6).paths[0]
    data = path.read_bytes()
    at = data.index(rows(3)[2]["image"]) + 300
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert inspect(path)["broken"] == [{"object_id": "obj00002", "reason": "its bytes differ from their checksum"}]


def test_a_pipe_is_not_waited_for(tmp_path, skythaw):
    os.mkfifo(tmp_path / "a.parquet")
    for command in ("inspect", "verify"):
        ended = skythaw("data", command, tmp_path / "a.parquet")
        assert ended.returncode == 2
        assert "is a pipe or a device" in ended.stderr


def test_overlaps_by_coordinates_and_none(tmp_path):
    sky = [row | {"ra": 10.0 + (number // 3), "dec": 0.001 * (number % 3)} for number, row in enumerate(rows(9))]
    write_cutouts(tmp_path / "a.parquet", sky, SKY, {})
    assert inspect(tmp_path / "a.parquet")["overlaps"] == {"basis": "coordinates", "cutouts": 9, "pairs": 6}
    pq.write_table(pq.read_table(tmp_path / "a.parquet").drop_columns(["ra"]), tmp_path / "b.parquet")
    assert inspect(tmp_path / "b.parquet")["overlaps"] == {"basis": None, "cutouts": 0, "pairs": None}


def test_unlabelled_files_are_inspected_and_foreign_ones_refused(tmp_path):
    make(tmp_path / "a.parquet", 6)
    pq.write_table(pq.read_table(tmp_path / "a.parquet").drop_columns(["label"]), tmp_path / "b.parquet")
    report = inspect(tmp_path / "b.parquet")
    assert report["classes"] == {}
    assert report["unlabelled"] == 6
    with pytest.raises(DataError, match="no file"):
        inspect(tmp_path / "none")


def test_the_contact_sheet_has_a_row_for_each_class(tmp_path):
    flat = {number: encode(np.full((16, 16, 3), 80 * (1 + number % 3), np.uint8), "PNG") for number in range(30)}
    make(tmp_path / "a.parquet", 30, image=flat | {0: b"broken"}, label={29: None})
    contact_sheet(tmp_path / "a.parquet", tmp_path / "sheet.png", per_class=5, scale=2)
    sheet = Image.open(tmp_path / "sheet.png")
    pixels = np.asarray(sheet)
    assert sheet.size[1] == 4 * 36 + 4
    left = sheet.size[0] - 5 * 36
    lines = [pixels[4 + 36 * line + 16] for line in range(4)]
    assert (lines[0][left : left + 32] == 255).all()
    for line, value, column in ((0, 80, 1), (1, 160, 4), (2, 240, 0), (3, 240, 0)):
        assert (lines[line][left + 36 * column : left + 36 * column + 32] == value).all()
    assert (lines[3][left + 36 :] == 255).all()
    assert all((line[:left] < 128).any() for line in lines)
    again = (tmp_path / "sheet.png").read_bytes()
    contact_sheet(tmp_path / "a.parquet", tmp_path / "sheet.png", per_class=5, scale=2)
    assert (tmp_path / "sheet.png").read_bytes() == again
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't write"):
        contact_sheet(tmp_path / "a.parquet", tmp_path / "file" / "sheet.png")


def warned(tmp_path, table, columns=FIELD):
    write_cutouts(tmp_path / "w.parquet", table, columns, {})
    return inspect(tmp_path / "w.parquet")["warnings"]


def with_values(count, **values):
    """Objects of three classes, with other values in some columns."""
    table = rows(count)
    for name, column in values.items():
        for row, value in zip(table, column, strict=True):
            row[name] = value
    return table


IDS = [str(1237648720693755904 + 256 * n) for n in range(30)]
PLACES = {"ra": [10.0 * n for n in range(30)], "dec": [1.0] * 30}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"label": ["STAR", "Star "] * 15}, r"'STAR' \(15\) and 'Star ' \(15\) may be one; to merge them: .* --merge"),
        ({"label": ["STAR", "a\tb"] * 15}, r"class name 'a\\tb' holds a character .*tab.*no study takes it"),
        ({"label": ["STAR"] * 28 + ["QSO"] * 2}, r"1 classes have fewer than 10 objects: 'QSO' \(2\)"),
        ({"label": ["STAR"] * 30}, "'STAR' is the only class, and a study needs two"),
        ({"label": [None] * 30}, "no object has a label"),
        ({"label": [None, "STAR", "QSO"] * 10}, "10 objects have no label: a study leaves them out"),
        (
            {"image": [encode(picture(n // 2 * 2)) for n in range(30)]},
            "15 images are copies of others, such as",
        ),
        ({"image": [encode(picture(n // 2)) for n in range(30)]}, r"different labels: .*--drop-conflicts"),
        ({"image": [encode(picture(n, 16 + n % 2)) for n in range(30)]}, r"2 sizes \(.*--size N"),
        ({"image": [b"x"] + [encode(picture(n)) for n in range(1, 30)]}, r"1 images can't be read .*--skip-broken"),
        ({"object_id": IDS}, r"the ids in object_id look rounded, as float64 does: all 30"),
        (PLACES | {"ra": [-15.07] * 30}, r"30 positions are outside 0..360 .* such as ra = -15.07, dec = 1"),
        (PLACES | {"ra": [None, *PLACES["ra"][1:]]}, "1 objects have no position"),
        (PLACES | {"ra": [n / 1.3 for n in range(30)]}, "ra goes from 0 to 22.3.*these may be hours"),
        (PLACES | {"ra": [1.0] * 30}, "all objects have the same position"),
    ],
)
def test_a_warning_for_each_kind(tmp_path, values, says):
    columns = [*FIELD, *SKY] if "ra" in values else FIELD
    found = warned(tmp_path, with_values(30, **values), columns)
    assert any(re.search(says, text) for text in found), found
    assert all("\n" not in text for text in found)


def test_more_warnings(tmp_path, skythaw):
    pixels = [encode(picture(n)) for n in range(330)]
    table = with_values(330, image=pixels, label=["STAR"] * 315 + ["QSO"] * 15)
    assert any("class 'QSO' is rare: 15 objects, and 315 of 'STAR'" in text for text in warned(tmp_path, table))
    table = [{name: row[name] for name in ("object_id", "label", "image")} | {"RA": 1.0} for row in rows(30)]
    found = warned(tmp_path, table, [("RA", pa.float64())])
    assert found == ["the columns RA are not taken for positions: call them ra and dec"]
    for row in table:
        row["psf"] = row.pop("RA")
    found = warned(tmp_path, table, [("psf", pa.float64())])
    assert len(found) == 1
    assert "no positions and no fields" in found[0]
    done = skythaw("data", "inspect", tmp_path / "w.parquet")
    assert f"warning: {found[0]}\n" == done.stderr


def test_a_sound_survey_has_no_warnings(tmp_path):
    exact = [str(1237648720693755918 + 11 * n) for n in range(30)]
    assert warned(tmp_path, with_values(30, object_id=exact, **PLACES), [*FIELD, *SKY]) == []
