"""FITS images: exact and the right way up; whatever else the bytes are, one named error, and no memory spent on it."""

from __future__ import annotations

import bz2
import gzip
import io
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from astropy.io import fits

from helpers_data import encode, picture
from skythaw.data.decode import BrokenImageError, bands_of, decode, probe
from skythaw.data.fits import encode_fits


def image(size=16, bands=5, seed=0) -> np.ndarray:
    """float32 [y, x, band]."""
    return np.random.default_rng(seed).normal(size=(size, size, bands)).astype(np.float32)


def file_of(*hdus, checksum=False) -> bytes:
    out = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(out, checksum=checksum)
    return out.getvalue()


def primary(data, **header) -> bytes:
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(header)
    return file_of(hdu)


WHOLE = encode_fits(image(), "ugriz", {"BUNIT": "nanomaggy"})


def test_what_is_written_is_read_and_equal_images_are_equal_bytes():
    assert np.array_equal(decode(WHOLE, "a"), image())
    assert encode_fits(image(), "ugriz", {"BUNIT": "nanomaggy"}) == WHOLE
    form = probe(WHOLE)
    assert (form.size, form.bands, form.dtype) == ((16, 16), tuple("ugriz"), "float32")
    long = encode_fits(image(), ["F606W", "F814W", "J", "H", "K"])
    assert bands_of(long) == ("F606W", "F814W", "J", "H", "K")
    assert bands_of(encode(picture(0))) == ("red", "green", "blue")


def test_astropy_reads_what_is_written_and_finds_its_checksums_right():
    with fits.open(io.BytesIO(WHOLE), checksum=True) as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        assert hdus[0].data.shape == (5, 16, 16)
        assert (header["BANDS"], header["BUNIT"]) == ("ugriz", "nanomaggy")
        assert {"CHECKSUM", "DATASUM"} <= set(header)
        assert not [card for card in header.cards if "20" in str(card.comment)], "no date"


def test_the_first_row_of_fits_is_the_lowest_of_ours():
    rows = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert np.array_equal(decode(primary(rows), "a")[:, :, 0], rows[::-1])


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_types_of_numbers(dtype):
    cube = np.arange(128).reshape(2, 8, 8).astype(dtype)
    found = decode(primary(cube), "a")
    assert found.dtype == np.float32
    assert found.dtype.isnative
    assert np.array_equal(np.moveaxis(found, -1, 0)[:, ::-1], cube)


def test_scaled_whole_numbers_and_blanks():
    hdu = fits.PrimaryHDU(np.arange(400, dtype=np.int16).reshape(20, 20))
    hdu.header.update({"BSCALE": 0.5, "BZERO": 10.0, "BLANK": 7})
    stored = np.arange(400).reshape(20, 20)[::-1]
    right = np.where(stored == 7, 0, 10 + 0.5 * stored)
    raw = file_of(hdu)
    body = raw[:2880] + np.arange(400, dtype=">i2").tobytes().ljust(2880, b"\0")
    assert np.array_equal(decode(body, "a")[:, :, 0], right)


def test_the_only_image_among_other_parts():
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.zeros(3))])
    data = file_of(fits.PrimaryHDU(), table, fits.ImageHDU(np.ones((4, 4))), checksum=True)
    assert decode(data, "a").shape == (4, 4, 1)
    assert bands_of(data) == ("0",)
    assert bands_of(primary(np.zeros((2, 8, 8)), BAND0="g", BAND1="r")) == ("g", "r")
    assert bands_of(primary(np.zeros((2, 8, 8)), BAND0="g")) == ("0", "1")


def test_few_masked_pixels_become_0_and_many_are_refused():
    pixels = image(20)
    pixels[0, :20, 2] = np.nan
    pixels[5, 5, 1] = -np.inf
    found = decode(encode_fits(pixels, "ugriz"), "a")
    assert np.array_equal(found, np.where(np.isfinite(pixels), pixels, 0))
    pixels[1, 0, 2] = np.inf
    with pytest.raises(BrokenImageError, match="5 % of band 'r' are NaN or infinite; at most 5 % may be"):
        decode(encode_fits(pixels, "ugriz"), "a")
    special = np.full((8, 8, 1), -9999, np.float32)
    assert np.array_equal(decode(encode_fits(special, "r"), "a"), special)


HOSTILE = {
    "cut in the data": (WHOLE[:-2880], r"truncated: its header announces \d+ bytes, there are \d+"),
    "cut in the padding": (WHOLE[:-1], "truncated"),
    "header alone": (WHOLE[:2880], "truncated"),
    "cut in the header": (WHOLE[:100], "."),
    "magic alone": (b"SIMPLE  =", "."),
    "magic again and again": (b"SIMPLE  =" * 10_000, "."),
    "no end": (WHOLE.replace(b"END" + b" " * 77, b" " * 80), "END"),
    "a huge axis": (WHOLE.replace(b"NAXIS1  =                   16", b"NAXIS1  =           1600000000"), "truncated"),
    "an axis of text": (WHOLE.replace(b"NAXIS1  =                   16", b"NAXIS1  =                 'ab'"), "NAXIS1"),
    "a negative axis": (WHOLE.replace(b"NAXIS1  =                   16", b"NAXIS1  =                  -16"), "NAXIS1"),
    "999 axes": (WHOLE.replace(b"NAXIS   =                    3", b"NAXIS   =                  999"), "NAXIS4 = None"),
    "a changed value": (WHOLE[:4000] + b"~" + WHOLE[4001:], "differ from the checksum in its header"),
    "a changed unit": (WHOLE.replace(b"nanomaggy", b"nanomagga"), "differ from the checksum in its header"),
    "html": (b"<html>429 Too Many Requests</html>", "not a JPEG, PNG or FITS file"),
    "gzip of text": (gzip.compress(b"text", mtime=0), "packed, and what is in it does not begin as a FITS file"),
    "gzip cut": (gzip.compress(WHOLE, mtime=0)[:-20], "the packed stream has no end"),
    "bzip2 cut": (bz2.compress(WHOLE)[:-20], "packed|the packed stream has no end"),
    "one axis": (primary(np.zeros(10)), "no image of 2 or 3 axes; there is one of 1 axes"),
    "four axes": (primary(np.zeros((2, 3, 8, 8))), "no image of 2 or 3 axes; there is one of 4 axes, 8 x 8 x 3 x 2"),
    "nothing": (primary(None), "no image of 2 or 3 axes"),
    "too large": (primary(np.zeros((5000, 4000), np.uint8)), "4000 x 5000 pixels in 1 bands are too many"),
    "too many bands": (primary(np.zeros((200, 4, 4), np.uint8)), "4 x 4 pixels in 200 bands are too many"),
    "names too few": (primary(np.zeros((3, 8, 8)), BANDS="gr"), "names the bands g, r; 3 different names"),
    "a name twice": (primary(np.zeros((2, 8, 8)), BANDS="rr"), "2 different names are needed"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_is_wrong_is_named(what):
    data, reason = HOSTILE[what]
    with pytest.raises(BrokenImageError, match=f"the image of object 'id 7' is broken: .*{reason}") as caught:
        decode(data, "id 7")
    assert "\n" not in str(caught.value)


def test_any_cut_and_any_flip_give_the_image_or_a_named_error():
    """Flips in the blanks of a header change nothing, and a checksum whose keyword is gone finds nothing in it."""
    rng = np.random.default_rng(1)
    for length in range(1, len(WHOLE), 997):
        with pytest.raises(BrokenImageError):
            decode(WHOLE[:length], "x")
    for _ in range(600):
        flipped = bytearray(WHOLE)
        flipped[int(rng.integers(9, len(WHOLE)))] ^= 1 << int(rng.integers(8))
        try:
            assert np.array_equal(decode(bytes(flipped), "x"), image())
        except BrokenImageError as error:
            assert error.reason  # noqa: PT017 - it may also not be raised


def test_announced_sizes_take_no_memory():
    """A process that may not have 1 GB more refuses petabytes, and does not look for the end of a 40 MB header."""
    script = """
        import resource
        import numpy as np
        from astropy.io import fits
        from skythaw.data.fits import encode_fits
        from skythaw.data.decode import BrokenImageError, decode

        whole = encode_fits(np.zeros((16, 16, 5), np.float32), "ugriz")
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
        endless = whole[:2880].replace(b"END", b"   ") + b" " * (2880 * 14_000) + b"END".ljust(2880) + whole[2880:]
        for old, new in ((b"NAXIS1  =                   16", b"NAXIS1  =     1600000000000000"), (b"", b"")):
            try:
                decode(whole.replace(old, new) if old else endless, "x")
            except BrokenImageError as error:
                print(error.reason)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "truncated" in first
    assert "END" in second
