"""Images of several sizes, and not square, become squares of one size: by default, by --size, by --resize."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers_data import encode, picture
from helpers_soak import few
from helpers_study import write_study
from skythaw.data.cutouts import read_cutouts, write_cutouts
from skythaw.data.decode import decode
from skythaw.data.fits import encode_fits
from skythaw.data.one_shape import common_side, squared
from skythaw.data.pixel_store import open_store
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.read_images import ImageOptions
from skythaw.errors import DataError, SpecError
from skythaw.spec import Study
from skythaw.study.study_data import open_study_data


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def put(folder: Path, *shapes: tuple[int, int]) -> Path:
    for number, (height, width) in enumerate(shapes):
        file = folder / ("STAR" if number % 2 else "QSO") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(image(height, width, number), "PNG"))
    return folder


def load(folder: Path, **options) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Pixels by object_id, and what was done."""
    result = import_folder(folder, folder.parent / "out.parquet", images=ImageOptions(**options))
    cutouts = read_cutouts(folder.parent / "out.parquet")
    return {name: decode(data, name) for name, data, _ in cutouts.images()}, result.changed


@few(100)
def test_every_set_becomes_squares_around_the_same_centre(examples):
    @settings(max_examples=examples, deadline=None)
    @given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.booleans(), st.booleans())
    def check(height, width, side, floats, resize):
        pixels = image(height, width).astype(np.float32) if floats else image(height, width)
        found, what = squared(pixels, side, resize)
        assert found.shape == (side, side, 3)
        assert found.dtype == pixels.dtype
        assert (what is None) == ((height, width) == (side, side))
        if resize:
            return
        for axis, length in enumerate((height, width)):
            if length < side:
                found = np.take(found, range((side - length) // 2, (side - length) // 2 + length), axis)
            else:
                pixels = np.take(pixels, range((length - side) // 2, (length - side) // 2 + side), axis)
        assert np.array_equal(found, pixels)

    check()


def test_without_options_all_are_cut_to_the_common_square(tmp_path):
    folder = put(tmp_path / "images", (40, 50), (36, 36), (60, 37))
    found, changed = load(folder)
    assert {name: pixels.shape for name, pixels in found.items()} == dict.fromkeys("012", (36, 36, 3))
    assert np.array_equal(found["0"], image(40, 50)[2:38, 7:43])
    assert changed == {"cut to the central 36 x 36 px": 2}
    stored = {row["path"]: row["bytes"] for row in pq.read_table(tmp_path / "out.parquet")["image"].to_pylist()}
    assert stored["STAR/1.png"] == (folder / "STAR" / "1.png").read_bytes(), "what fits stays as it is"
    recipe = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"skythaw"])["recipe"]
    assert recipe["images"] == {"size": 36}


def test_images_that_are_alike_and_square_stay_as_they_are(tmp_path):
    found, changed = load(put(tmp_path / "images", (12, 12), (12, 12)))
    assert np.array_equal(found["0"], image(12, 12))
    assert changed == {}
    assert "images" not in read_cutouts(tmp_path / "out.parquet").recipe


def test_a_size_cuts_pads_and_scales(tmp_path):
    folder = put(tmp_path / "images", (40, 50), (20, 36), (32, 32))
    found, changed = load(folder, size=32)
    assert changed == {"cut to the central 32 x 32 px": 1, "padded with sky to 32 x 32 px": 1}
    small = image(20, 36, 1)
    border = np.concatenate([small[0], small[-1], small[1:-1, 0], small[1:-1, -1]])
    assert np.array_equal(found["1"][6:26], small[:, 2:34])
    assert np.array_equal(found["1"][0, 0], np.median(border, axis=0).round())
    assert np.array_equal(found["2"], image(32, 32, 2))
    found, changed = load(folder, size=24, resize=True)
    assert changed == {"scaled to 24 x 24 px": 3}
    assert abs(found["2"].mean() - image(32, 32, 2).mean()) < 3


def test_floats_are_stored_without_loss(tmp_path):
    pixels = np.random.default_rng(0).normal(size=(30, 40, 2)).astype(np.float32)
    for number, name in enumerate(("A/a.fits", "B/b.fits")):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        (tmp_path / "images" / name).write_bytes(encode_fits(pixels + number, "gr"))
    found, _ = load(tmp_path / "images")
    assert np.array_equal(found["a"], pixels[:, 5:35])


def test_what_is_too_small_is_named(tmp_path):
    with pytest.raises(
        DataError, match=r"has 15 px a side, .* room for 30; the smallest are STAR/1.png \(20 x 15 px\)"
    ):
        load(put(tmp_path / "a", (30, 30), (15, 20), (30, 31)))
    with pytest.raises(DataError, match=r"has 20 px a side, .*--size N cuts the others"):
        load(put(tmp_path / "b", (64, 64), (20, 20), (64, 64)))
    assert common_side([("a", (20, 20)), ("b", (40, 40)), ("c", (40, 40))]) == 20
    assert not list(tmp_path.glob("*.parquet"))
    assert load(put(tmp_path / "b"), size=64)[1] == {"padded with sky to 64 x 64 px": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 3}, "--size 3 should be from 4 to 4096 pixels"),
        ({"resize": True}, "--resize needs --size N"),
        ({"ext": ("g", "", "r")}, "--ext g,,r should be names of extensions"),
        ({"band_from": "header"}, "--band-from header should be name or none"),
        ({"max_nan": 1.0}, "--max-nan 1 should be a share, from 0 to less than 1"),
        ({"max_nan": float("nan")}, "--max-nan nan should be a share"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(SpecError, match=message):
        ImageOptions(**options)


def test_scaled_images_have_another_scale(tmp_path):
    folder = put(tmp_path / "images", (40, 40), (20, 20))
    labels = tmp_path / "labels.csv"
    labels.write_text("name,label,pixel_scale\n0,A,0.4\n1,B,0.4\n")
    import_folder(folder, tmp_path / "out.parquet", labels, images=ImageOptions(size=20, resize=True))
    assert read_cutouts(tmp_path / "out.parquet").column("pixel_scale").tolist() == pytest.approx([0.8, 0.4])


def test_the_command_says_what_was_done(tmp_path, skythaw):
    folder = put(tmp_path / "images", (40, 50), (36, 36))
    (folder / "QSO" / "notes.txt").write_text("x")
    (folder / "QSO" / "cube.npy").write_bytes(b"\x93NUMPY")
    done = skythaw("data", "import", folder, tmp_path / "out.parquet")
    assert done.returncode == 0, done.stderr
    table = " ".join(done.stdout.split())
    assert "cut to the central 36 x 36 px 1" in table
    assert "not images QSO/notes.txt 1" in table
    assert "QSO/cube.npy 1" in table
    done = skythaw("data", "import", folder, tmp_path / "out.parquet", "--size", "2")
    assert (done.returncode, done.stderr) == (2, "error: --size 2 should be from 4 to 4096 pixels\n")


def test_a_study_cuts_squares_from_images_that_are_none(tmp_path):
    """Such a set may come from elsewhere: the crop is square."""
    rows = [
        {"object_id": f"o{n}", "label": "AB"[n % 2], "image": encode(np.asarray(picture(n, 48))[:40], "PNG")}
        for n in range(24)
    ]
    write_cutouts(tmp_path / "a.parquet", rows, [], {})
    study = Study.model_validate(
        {
            "name": "a",
            "data": {
                "path": tmp_path / "a.parquet",
                "crop": 32,
                "split": {"by": "random", "validation": 0.2, "test": 0.3, "seed": 0},
            },
            "grid": {"backbone": ["test_resnet"], "depth": ["0%"], "train_size": ["all"], "seed": [0]},
            "recipe": {"epochs": 1},
        }
    )
    assert open_study_data(study, tmp_path / "cache").side == 40
    store = open_store(read_cutouts(tmp_path / "a.parquet"), tmp_path / "cache")
    assert store.pixels.shape == (24, 40, 48, 3)


def test_a_plan_refuses_images_of_several_sizes(tmp_path):
    """The odd one is not the first; a run would refuse it after it had decoded everything."""
    rows = [
        {"object_id": f"o{n}", "label": "AB"[n % 2], "image": encode(picture(n, 48 if n else 40), "PNG")}
        for n in range(24)
    ]
    write_cutouts(tmp_path / "survey.parquet", rows[1:] + rows[:1], [], {})
    study = Study.load(write_study(tmp_path, replace={'by = "field"': 'by = "random"'}))
    with pytest.raises(DataError, match=r"survey.parquet: images of 2 sizes: 48 x 48 px .*, 40 x 40 px .*--size N"):
        open_study_data(study, tmp_path / "cache")
