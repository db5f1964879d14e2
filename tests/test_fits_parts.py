"""FITS files in parts: bands in extensions or files of their own, masks beside the image, packed, NaN, odd axes."""

from __future__ import annotations

import bz2
import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers_data import encode
from helpers_soak import few
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import BrokenImageError, decode, open_image, probe
from skythaw.data.fits import encode_fits
from skythaw.data.fits_choice import ABOUT
from skythaw.data.image_form import ReadChoice
from skythaw.data.sources.band_files import group_bands, join_bands
from skythaw.data.sources.folder import import_folder
from skythaw.data.sources.read_images import ImageOptions
from skythaw.errors import DataError


def plane(value: float, shape: tuple[int, ...] = (20, 20)) -> np.ndarray:
    return np.full(shape, value, np.float32)


def parts(*named: tuple[str, np.ndarray], primary=None, **header) -> bytes:
    hdus = [fits.PrimaryHDU(primary), *(fits.ImageHDU(array, name=name) for name, array in named)]
    hdus[0].header.update(header)
    out = io.BytesIO()
    fits.HDUList(hdus).writeto(out)
    return out.getvalue()


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def load(folder: Path, **options):
    """Cutouts, and the result."""
    skip = options.pop("skip_broken", False)
    result = import_folder(folder, folder.parent / "out.parquet", skip_broken=skip, images=ImageOptions(**options))
    return read_cutouts(folder.parent / "out.parquet"), result


BAND_SETS = (("G", "R", "I"), ("B", "V", "R", "I"), ("F606W", "F814W"), ("W1", "W2"), ("u", "g", "r", "i", "z"))


@few(100)
def test_any_file_of_extensions_is_read_by_its_names(examples):
    """Bands in any order, with any prefix, with masks and weights anywhere between: all bands, and nothing else."""

    @settings(max_examples=examples, deadline=None)
    @given(st.data())
    def check(data):
        bands = data.draw(st.permutations(data.draw(st.sampled_from(BAND_SETS))))
        prefix = data.draw(st.sampled_from(("", "SCI_", "IMAGE-", "DES_")))
        about = data.draw(st.lists(st.sampled_from(sorted(ABOUT)), max_size=3, unique=True))
        of_band = data.draw(st.booleans())
        named = [(prefix + band, plane(n)) for n, band in enumerate(bands)]
        others = [(f"{word}_{bands[0]}" if of_band else word, plane(99)) for word in about]
        for each in others:
            named.insert(data.draw(st.integers(0, len(named))), each)
        content = parts(*named)
        found = decode(content, "x")
        spelt = tuple(b.lower() for b in bands) if {"G", "g"} & set(bands) else tuple(bands)
        assert probe(content).bands == spelt
        assert found[0, 0].tolist() == list(range(len(bands)))

    check()


@pytest.mark.parametrize("first", ["MASK", "DQ", "ERR", "ivar_r"])
def test_a_mask_before_the_image_is_no_image(first):
    content = parts((first, plane(9)), ("SCI", plane(1)), ("WHT", plane(2)))
    assert (decode(content, "x") == 1).all()
    assert open_image(content, "x").notes == (f"read without {first.upper()}, WHT",)
    assert (decode(parts((first, plane(9)), primary=plane(1)), "x") == 1).all()


def test_filters_name_bands_too():
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(plane(0)), fits.ImageHDU(plane(1))]
    hdus[1].header["FILTER"], hdus[2].header["FILTER"] = "r DECam SDSS c0002 6415.0", "g DECam SDSS c0001 4720.0"
    out = io.BytesIO()
    fits.HDUList(hdus).writeto(out)
    assert probe(out.getvalue()).bands == ("r", "g")


def test_what_is_not_clear_is_refused_and_named():
    for named in (
        [("", plane(0)), ("", plane(1))],
        [("SCI", plane(0)), ("SCI", plane(1))],
        [("A1", plane(0)), ("A2", plane(1))],
    ):
        with pytest.raises(
            BrokenImageError, match=r"holds 2 images, and which of them is meant can't be told: 1 .*--ext"
        ):
            decode(parts(*named), "x")
    with pytest.raises(BrokenImageError, match=r"1 'G' \(20 x 20\), 2 'R' \(10 x 10\)"):
        decode(parts(("G", plane(0)), ("R", plane(1, (10, 10)))), "x")
    assert (decode(parts(("SCI", plane(1)), ("MODEL", plane(2))), "x") == 1).all()


def test_ext_chooses_by_name_number_or_band(tmp_path):
    content = parts(("SCI_G", plane(0)), ("SCI_R", plane(1)), ("MODEL", plane(2)))
    with pytest.raises(BrokenImageError, match="can't be told"):
        decode(parts(("SCI_G", plane(0)), ("SCI_G", plane(1)), ("MODEL", plane(2))), "x")
    for ext, values in ((("model",), [2]), (("3", "1"), [2, 0]), (("r", "g"), [1, 0]), (("SCI_R:1",), [1])):
        assert open_image(content, "x", ReadChoice(ext)).load()[0, 0].tolist() == values
    assert open_image(content, "x", ReadChoice(("r", "g"))).form.bands == ("r", "g")
    with pytest.raises(BrokenImageError, match=r"no image extension 'i'; there are 1 'SCI_G' \(20 x 20\), 2"):
        open_image(content, "x", ReadChoice(("i",)))
    other = parts(("SCI_G", plane(3)), ("SCI_R", plane(4)), ("MODEL", plane(5)))
    folder = put(tmp_path / "images", {"A/a.fits": content, "B/b.fits": other})
    cutouts, result = load(folder, ext=("r", "MODEL"))
    stored = next(data for _, data, _ in cutouts.images())
    assert decode(stored, "x")[0, 0].tolist() == [1, 2]
    assert result.changed == {"extensions r, MODEL taken": 2}
    assert cutouts.recipe["images"] == {"ext": ["r", "MODEL"]}


@few(50)
def test_axes_of_length_1_and_bands_in_the_last_axis(examples):
    @settings(max_examples=examples, deadline=None)
    @given(st.integers(18, 40), st.integers(20, 35), st.integers(1, 6), st.integers(0, 2), st.booleans())
    def check(height, width, bands, alone, last):
        values = np.random.default_rng(bands).normal(size=(bands, height, width)).astype(np.float32)
        cube = np.moveaxis(values, 0, -1) if last else values.reshape((1,) * alone + values.shape)
        found = decode(parts(primary=cube), "x")
        assert np.array_equal(np.moveaxis(found, -1, 0)[:, ::-1], values)
        notes = open_image(parts(primary=cube), "x").notes
        assert ("bands moved from the last axis to the first" in notes) == last

    check()


@few(40)
def test_packed_files_give_the_same_pixels(examples):
    @settings(max_examples=examples, deadline=None)
    @given(
        st.sampled_from(("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "NOCOMPRESS")),
        st.sampled_from(("i2", "i4")),
        st.integers(17, 40),
        st.integers(17, 40),
        st.sampled_from((None, gzip.compress, bz2.compress)),
    )
    def check(how, dtype, height, width, pack):
        values = np.random.default_rng(height).integers(0, 1000, (height, width)).astype(dtype)
        out = io.BytesIO()
        tile = (height, width) if how == "HCOMPRESS_1" else None  # which takes no tile with less than 4 rows
        hdus = [
            fits.CompImageHDU(each, compression_type=how, tile_shape=tile, name=name)
            for name, each in (("G", values), ("R", values + 1))
        ]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(out, checksum=True)
        data = out.getvalue() if pack is None else pack(out.getvalue())
        assert probe(data).bands == ("g", "r")
        assert np.array_equal(decode(data, "x")[::-1], np.dstack([values, values + 1]))

    check()


def test_compressed_floats_and_several_streams():
    out = io.BytesIO()
    values = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(values, quantize_level=16)]).writeto(out)
    assert np.abs(decode(out.getvalue(), "x")[::-1, :, 0] - values).max() < 0.1
    plain = parts(primary=values)
    assert np.array_equal(decode(gzip.compress(plain[:3000]) + gzip.compress(plain[3000:]), "x"), decode(plain, "x"))


def test_a_strip_of_nan_is_filled_where_it_is_allowed(tmp_path):
    values = np.random.default_rng(0).normal(5, 1, (20, 20)).astype(np.float32)
    values[:2] = np.nan
    folder = put(tmp_path / "images", {"A/a.fits": parts(primary=values), "B/b.fits": parts(primary=plane(1))})
    with pytest.raises(DataError, match=r"10 % of band '0' are NaN.*--max-nan SHARE; to leave out such images: --skip"):
        load(folder)
    with pytest.raises(DataError, match="10 % of band '0' are NaN or infinite; at most 8 % may be"):
        load(folder, max_nan=0.08)
    cutouts, result = load(folder, max_nan=0.1)
    images = {name: data for name, data, _ in cutouts.images()}
    found = decode(images["a"], "a")[::-1, :, 0]
    assert np.array_equal(found[2:], values[2:])
    assert (found[:2] == np.median(values[2:])).all()
    assert images["b"] == (folder / "B" / "b.fits").read_bytes()
    assert result.changed == {"masked pixels filled with the median of their band": 1}
    with pytest.raises(BrokenImageError, match="100 % of band '0' are NaN or infinite; there is nothing to fill"):
        open_image(parts(primary=plane(np.nan)), "x", ReadChoice(max_nan=0.9)).load()


LAYOUTS = ("{o}_{b}", "{o}-{b}", "{b}_{o}", "{o}_HSC-{b}_v2", "{o}.{b}", "{o}_{b}_sci")


@few(60)
def test_files_of_single_bands_are_put_together_by_their_names(examples):
    @settings(max_examples=examples, deadline=None)
    @given(
        st.sampled_from((*LAYOUTS, "{b}/{o}")),
        st.lists(
            st.from_regex(r"[0-9]{3,19}|NGC ?[0-9]{3}[a-d]|J[0-9]{4}\+[0-9]{4}", fullmatch=True),
            min_size=2,
            max_size=5,
            unique=True,
        ),
        st.sampled_from(("gri", "ugriz", "BVRI", ("F606W", "F814W"))),
        st.sampled_from((".fits", ".fits.gz", ".tif")),
    )
    def check(layout, objects, bands, ending):
        wanted = {o: {b: f"STAR/{layout.format(o=o, b=b)}{ending}" for b in bands} for o in objects}
        names = sorted(name for files in wanted.values() for name in files.values())
        assert sorted(map(sorted_items, group_bands(names).values())) == sorted(map(sorted_items, wanted.values()))
        found, left_out = join_bands(names)
        assert (len(found), left_out) == (len(objects), {})

    check()


def sorted_items(files: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(files.items())


def test_a_folder_of_single_bands_is_refused_or_joined(tmp_path):
    files = {
        f"{label}/{label[0].lower()}{n}_{band}.fits": parts(primary=plane(100 * (label == "QSO") + 10 * n + at))
        for label in ("STAR", "QSO")
        for n in range(2)
        for at, band in enumerate("gri")
    }
    folder = put(tmp_path / "images", files)
    with pytest.raises(
        DataError, match=r"seem to be single bands of 4 objects \(.*\): --band-from name .*--band-from none"
    ):
        load(folder)
    cutouts, result = load(folder, band_from="name")
    assert cutouts.object_ids == ["q0", "q1", "s0", "s1"]
    assert cutouts.counts == {"QSO": 2, "STAR": 2}
    images = {name: data for name, data, _ in cutouts.images()}
    assert probe(images["s1"]).bands == ("g", "r", "i")
    assert decode(images["s1"], "x")[0, 0].tolist() == [10, 11, 12]
    assert result.changed == {"bands put together from files of their own": 4}
    assert len(load(folder, band_from="none")[0]) == 12
    (folder / "STAR" / "s1_i.fits").unlink()
    (folder / "STAR" / "other.fits").write_bytes(parts(primary=plane(77)))
    _, result = load(folder, band_from="name")
    missing = "its object STAR/s1.fits has no file of band i"
    assert result.objects == 3
    assert result.left_out == {
        "STAR/other.fits": "its name has no word that is the name of a band",
        "STAR/s1_g.fits": missing,
        "STAR/s1_r.fits": missing,
    }
    (folder / "STAR" / "s0_r.fits").write_bytes(b"no")
    _, result = load(folder, band_from="name", skip_broken=True)
    assert result.objects == 2
    assert len(result.left_out) == 6


def test_a_letter_behind_a_number_names_a_band(tmp_path):
    files = {
        f"{label}/J00{n}{band}.fits": encode_fits(np.full((20, 20, 1), 9 * ord(label) + n + ord(band), np.float32), "0")
        for label in "AB"
        for n in range(2)
        for band in "gr"
    }
    folder = put(tmp_path / "images", files)
    with pytest.raises(DataError, match="seem to be single bands of 4 objects"):
        load(folder)
    cutouts, _ = load(folder, band_from="name")
    assert sorted(cutouts.object_ids) == ["A/J000.fits", "A/J001.fits", "B/J000.fits", "B/J001.fits"]


def test_pictures_whose_names_end_in_letters_are_no_bands(tmp_path):
    files = {
        f"{label}/{n}_{band}.png": encode(np.full((20, 20, 3), (ord(label), n, ord(band)), np.uint8), "PNG")
        for label in "AB"
        for n in range(2)
        for band in "gr"
    }
    assert len(load(put(tmp_path / "images", files))[0]) == 8
    with pytest.raises(DataError, match="no two files differ in a word that is the name of a band"):
        load(
            put(tmp_path / "others", {"A/a1.png": files["A/0_g.png"], "B/b2.png": files["B/0_g.png"]}), band_from="name"
        )
