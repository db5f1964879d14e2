"""simplejpeg decodes a file as Pillow does, to the pixel, or leaves it to Pillow, which alone says what is broken."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from helpers_soak import fuzz
from skythaw.data import decode as decoding
from skythaw.data import jpeg
from skythaw.data.decode import BrokenImageError, decode
from skythaw.data.image_form import Form

pytest.importorskip("simplejpeg", reason="simplejpeg (extra `fast`) is not installed")
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
MODES = ("RGB", "L", "CMYK", "keep_rgb")


def picture(height, width, seed):
    """Noise over a gradient, so that every coefficient is there."""
    rng = np.random.default_rng(seed)
    smooth = np.linspace(0, 200, height * width * 3).reshape(height, width, 3)
    return (smooth + rng.normal(0, rng.choice([1, 40]), smooth.shape)).clip(0, 255).astype(np.uint8)


def encode(pixels, mode="RGB", **options):
    image, file = Image.fromarray(pixels), io.BytesIO()
    image = image if mode == "keep_rgb" else image.convert(mode)
    sampling = options.pop("subsampling", "4:2:0")
    options |= {"keep_rgb": True} if mode == "keep_rgb" else {"subsampling": sampling} if mode == "RGB" else {}
    image.save(file, "JPEG", **options)
    return file.getvalue()


@st.composite
def files(draw):
    side = st.integers(1, 50)
    options = {
        "quality": draw(st.integers(1, 100)),
        "progressive": draw(st.booleans()),
        "optimize": draw(st.booleans()),
        "subsampling": draw(st.sampled_from(SAMPLINGS)),
        **draw(st.sampled_from([{}, {}, {"comment": b"seen"}, {"restart_marker_blocks": 2}, {"exif": orientation()}])),
    }
    return encode(picture(draw(side), draw(side), draw(st.integers(0, 99))), draw(st.sampled_from(MODES)), **options)


def orientation():
    exif = Image.Exif()
    exif[274] = 6
    return exif


@st.composite
def damaged(draw):
    data = bytearray(draw(files()))
    place = st.integers(0, len(data) - 1)
    if draw(st.booleans()):
        del data[draw(place) :]
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(data) + draw(st.sampled_from([b"", b"more", jpeg_end()]))


def jpeg_end():
    return b"\xff\xd9"


def judged(data):
    """What becomes of a file: its pixels, or why there are none."""
    try:
        return decode(data, "x")
    except BrokenImageError as error:
        return error.reason


def by_pillow(data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "plain_size", lambda _: None)
        return judged(data)


def assert_alike(data):
    fast, slow = judged(data), by_pillow(data)
    assert type(fast) is type(slow), (fast, slow)
    assert np.array_equal(fast, slow) if isinstance(fast, np.ndarray) else fast == slow


@fuzz(300, files())
def test_whole_files(data):
    assert_alike(data)


@fuzz(300, damaged())
def test_damaged_files(data):
    assert_alike(data)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("sampling", [*SAMPLINGS, "grey"])
def test_plain_files_are_decoded_by_simplejpeg(sampling, progressive):
    """Of every size up to three blocks and a bit, so that all edges of blocks occur."""
    mode, sampling = ("L", "4:4:4") if sampling == "grey" else ("RGB", sampling)
    for size in [(side, 50 - side) for side in range(1, 50)]:
        data = encode(picture(*size, 0), mode, subsampling=sampling, progressive=progressive)
        assert jpeg.plain_size(data) == size
        pixels = jpeg.decode_plain(data, size)
        assert pixels is not None
        assert np.array_equal(pixels, by_pillow(data))


def test_what_is_not_plain_is_left_to_pillow():
    pixels = picture(40, 40, 1)
    whole = encode(pixels)
    for data in (
        encode(pixels, "CMYK"),
        encode(pixels, "keep_rgb"),
        encode(pixels, exif=orientation()),
        encode(pixels, icc_profile=b"x"),
        b"",
        whole[:100],
        whole[1:],
    ):
        assert jpeg.plain_size(data) is None
    for cut in (1, 2, 3, 50, 300):
        assert jpeg.decode_plain(whole[:-cut], (40, 40)) is None, "torn: Pillow says how"
    assert jpeg.decode_plain(whole, (5000, 5000)) is None, "too large"


def test_without_simplejpeg_the_pixels_are_the_same(monkeypatch):
    data = encode(picture(40, 40, 1))
    wanted = decode(data, "x")
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    jpeg.find_decoder.cache_clear()
    assert jpeg.decode_plain(data, (40, 40)) is None
    assert np.array_equal(decode(data, "x"), wanted)
    monkeypatch.undo()
    jpeg.find_decoder.cache_clear()


def test_the_form_decides_before_what_is_torn():
    def refuse(form):
        raise ValueError(f"not {form.size}")

    data = encode(picture(20, 30, 1))
    for each in (data, data[:-20], encode(picture(20, 30, 1), "CMYK")):
        with pytest.raises(BrokenImageError, match=r"not \(20, 30\)"):
            decode(each, "x", refuse)
    seen = []
    decode(data, "x", seen.append)
    assert seen == [Form((20, 30))]
