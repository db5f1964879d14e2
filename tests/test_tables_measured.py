"""Numbers measured from images: any size, bands and gaps; alone as among others; kept whole or made again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers_data import make
from skythaw.data.pixel_store import open_store
from skythaw.tables import measured as measured_file
from skythaw.tables.measured import SHAPES, measured, measured_names, measured_of

RGB = ("red", "green", "blue")


def star(size: int, width: float = 2.0, height: float = 1000.0, bands: int = 1) -> np.ndarray:
    """float32 [object, y, x, band]: a round source in the middle of a sky of 10 with noise of 1."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    noise = np.random.default_rng(size).normal(10, 1, (size, size, bands))
    return (noise + height * np.exp(-(x**2 + y**2) / (2 * width**2))[..., None]).astype(np.float32)[None]


def numbers(images: np.ndarray, bands=None) -> np.ndarray:
    bands = bands or [f"b{n}" for n in range(images.shape[3])]
    usable = np.ones(len(images), dtype=bool)
    return measured(images, [str(n) for n in range(len(images))], bands, usable).values


def by_name(images: np.ndarray, bands) -> dict[str, float]:
    return dict(zip(measured_names(bands), numbers(images, bands)[0], strict=True))


def test_an_rgb_image_has_47_numbers_from_blue_to_red():
    names = measured_names(RGB)
    assert len(names) == len(set(names)) == 47
    assert names[:3] == ("ring 1 blue", "ring 1 green", "ring 1 red")
    assert "colour 1 blue - green" in names
    assert names[-6:] == SHAPES


@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    bands=st.integers(1, 6),
    floats=st.booleans(),
    gaps=st.floats(0, 1),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_any_image_gives_finite_or_missing_numbers(height, width, bands, floats, gaps, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, height, width, bands), dtype=np.uint8)
    if floats:
        images = (images * 10.0 ** rng.integers(-20, 20)).astype(np.float32)
        images[rng.random(images.shape) < gaps] = rng.choice([np.nan, np.inf, -np.inf])
    values = numbers(images)
    assert values.shape == (3, len(measured_names([f"b{n}" for n in range(bands)])))
    assert not np.isinf(values).any()
    if not floats:
        assert np.isfinite(values[:, : 7 * bands]).all()


@given(count=st.integers(1, 70), place=st.integers(0, 69), bands=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_an_image_gives_the_same_bits_alone_and_among_others(count, place, bands, seed):
    images = np.random.default_rng(seed).normal(0, 1, (count, 20, 20, bands)).astype(np.float32)
    place %= count
    np.testing.assert_array_equal(numbers(images)[place], numbers(images[place : place + 1])[0])


@given(size=st.integers(8, 60), bands=st.integers(1, 3), turns=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_quarter_turn_changes_nothing(size, bands, turns, seed):
    images = np.random.default_rng(seed).integers(0, 256, (2, size, size, bands), dtype=np.uint8)
    turned = np.ascontiguousarray(np.rot90(images, turns, axes=(1, 2)))
    np.testing.assert_allclose(numbers(turned), numbers(images), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_constant_image_has_sky_and_no_shape(value, dtype):
    found = by_name(np.full((1, 32, 32, 2), value, dtype=dtype), ("g", "r"))
    assert found["sky g"] == value
    assert found["scatter g"] == 0
    assert all(np.isnan(found[name]) for name in ("concentration", "gini", "m20", "size g", "ellipticity"))


def test_known_numbers_of_a_round_star():
    found = by_name(star(128), ("r",))
    assert found["sky r"] == pytest.approx(10, abs=0.1)
    assert found["scatter r"] == pytest.approx(1, abs=0.05)
    assert found["size r"] == pytest.approx(2 * 2**0.5, rel=0.05)
    assert found["offset r"] < 0.05
    assert found["ellipticity"] < 0.02
    assert found["asymmetry"] < 0.1
    inside = 1000 * 2 * np.pi * 2**2 * (1 - np.exp(-(1.5**2) / 8)) / (np.pi * 1.5**2)  # mean of a Gaussian in a circle
    assert np.sinh(found["ring 1 r"]) * found["scatter r"] == pytest.approx(inside, rel=0.05)
    assert by_name(star(128, width=5.0), ("r",))["concentration"] < found["concentration"]
    assert by_name(star(128, width=5.0), ("r",))["size r"] > found["size r"]


def test_a_colour_is_the_difference_of_neighbouring_bands_whatever_their_order():
    image = np.concatenate([star(64), star(64, height=100.0), star(64, height=10.0)], axis=3)
    found = by_name(image, ("z", "g", "r"))
    assert found["colour 1 g - r"] == pytest.approx(found["ring 1 g"] - found["ring 1 r"])
    assert found["colour 1 g - r"] > 0 > found["colour 1 r - z"]


def test_rings_without_pixels_are_missing_and_the_rest_is_there():
    image = star(64)
    image[0, :, :32] = np.nan
    half = by_name(image, ("r",))
    assert np.isfinite(half["ring 1 r"])
    image[0, 20:44, 20:44] = np.nan
    found = by_name(image, ("r",))
    assert np.isnan(found["ring 1 r"])
    assert np.isfinite(found["sky r"])


def test_unusable_images_have_no_numbers():
    images = star(16).repeat(3, axis=0)
    table = measured(images, "abc", ["r"], np.array([True, False, True]))
    assert np.isnan(table.values[1]).all()
    assert np.isfinite(table.values[[0, 2]]).any()


def test_numbers_are_kept_and_made_again_when_damaged(tmp_path, monkeypatch):
    cutouts = make(tmp_path / "c.parquet", 12, 16)
    store = open_store(cutouts, tmp_path / "cache")
    first = measured_of(cutouts, store, tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "numbers").iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(measured_file, "measured", lambda *a, **k: pytest.fail("measured again"))
        assert measured_of(cutouts, store, tmp_path / "cache").sha256 == first.sha256
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-30], whole[:200] + b"\xff" * 64 + whole[264:], b"PK\x03\x04" + bytes(99)):
        kept.write_bytes(damaged)
        assert measured_of(cutouts, store, tmp_path / "cache").sha256 == first.sha256
        assert kept.read_bytes() == whole
    monkeypatch.setattr(measured_file, "MEASURED", 99)
    measured_of(cutouts, store, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "numbers").iterdir())) == 2


def test_progress_is_told_the_chunks():
    seen = []

    def progress(things, count):
        seen.append(count)
        return itertools.islice(things, count)

    measured(star(8).repeat(130, axis=0), [str(n) for n in range(130)], ["r"], np.ones(130, bool), progress=progress)
    assert seen == [3]
