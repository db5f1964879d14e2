"""Every format keeps its values, whatever its bits and bands; hostile files are refused within bounds."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers_data import encode, picture
from helpers_soak import few
from skythaw.data.decode import BrokenImageError, decode, open_image, probe
from skythaw.data.image_form import RGB
from skythaw.data.unpack import UNPACKED

BOMB = 400 << 20
"""bytes"""
DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8")


def values(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype[0] == "f":
        return rng.normal(0, 100, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def tiff(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(array: np.ndarray, filters: int) -> bytes:
    """A PNG of 16 bits, each row with a filter of its own; array uint16 [y, x, channel]."""
    height, width, channels = array.shape
    raw = array.astype(">u2").tobytes()
    stride, unit, rows = width * channels * 2, channels * 2, []
    before = bytes(stride)
    for y in range(height):
        row, kind = raw[y * stride : (y + 1) * stride], (filters + y) % 3
        left = bytes(unit) + row[:-unit]
        minus = (bytes(stride), left, before)[kind]
        rows.append(bytes([kind]) + bytes((a - b) % 256 for a, b in zip(row, minus, strict=True)))
        before = row
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@few(150)
def test_tiff_keeps_its_values_in_any_form(examples):
    """One page or many, samples together or apart, deflated or not, little or big endian."""

    @settings(max_examples=examples, deadline=None)
    @given(
        st.sampled_from(DTYPES),
        st.integers(16, 30),
        st.integers(16, 30),
        st.sampled_from(("grey", "pages", "together", "apart", "colour", "as numpy has it")),
        st.integers(2, 5),
        st.sampled_from((None, "zlib")),
        st.sampled_from("<>"),
    )
    def check(dtype, height, width, layout, bands, packed, order):
        shape = {"grey": (height, width), "colour": (height, width, 3)}.get(layout, (height, width, bands))
        if layout in ("pages", "apart"):
            shape = (bands, height, width)
        array = values(dtype, shape, height * width)
        options = {
            "grey": {},
            "pages": {"photometric": "minisblack"},
            "together": {"photometric": "minisblack", "planarconfig": "contig"},
            "apart": {"photometric": "minisblack", "planarconfig": "separate"},
            "colour": {"photometric": "rgb"},
            "as numpy has it": {"photometric": "minisblack"},
        }[layout]
        data = tiff(array, compression=packed, byteorder=order, **options)
        form, found = probe(data), decode(data, "x")
        right = array[..., None] if layout == "grey" else array
        right = np.moveaxis(right, 0, -1) if layout in ("pages", "apart") else right
        if dtype == "u1" and layout in ("grey", "colour"):
            assert (form.dtype, form.bands) == ("uint8", RGB)
            assert np.array_equal(found, np.broadcast_to(right, (height, width, 3)))
            return
        assert form.dtype == "float32"
        assert form.bands == (RGB if layout == "colour" else tuple(map(str, range(right.shape[2]))))
        assert form.size == found.shape[:2] == (height, width)
        assert np.array_equal(found, right.astype(np.float32))

    check()


@few(60)
def test_a_png_of_16_bits_keeps_them(examples):
    @settings(max_examples=examples, deadline=None)
    @given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(0, 2))
    def check(height, width, channels, filters):
        array = values("u2", (height, width, channels), height)
        found, right = decode(deep_png(array, filters), "x"), array.astype(np.float32)
        if channels in (2, 4):
            right = right[..., :-1] * (right[..., -1:] / np.float32(65535))
        assert found.dtype == np.float32
        assert np.array_equal(found, right if channels in (1, 3, 4) else np.repeat(right, 3, axis=2))
        assert probe(deep_png(array, filters)).bands == (("0",) if channels == 1 else RGB)

    check()


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PNG"])
def test_eight_bits_become_red_green_and_blue(kind):
    pixels = np.asarray(Image.fromarray(picture(3, 40)).quantize(256).convert("RGB"))
    options = {"WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_lzw"}}.get(kind, {})
    found = decode(encode(Image.fromarray(pixels), kind, **options), "x")
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_packed_grey_tiff(mode):
    array = values({"I;16": "u2", "I": "i4", "F": "f4"}[mode], (20, 24), 1)
    found = decode(encode(Image.fromarray(array), "TIFF", compression="tiff_lzw"), "x")
    assert np.array_equal(found[..., 0], array.astype(np.float32))


def test_jpeg_2000_of_16_bits():
    array = values("u2", (20, 24), 1)
    assert np.array_equal(decode(encode(array, "JPEG2000"), "x")[..., 0], array)


def test_pages_of_a_tiff_that_are_no_bands():
    rgb = Image.fromarray(picture(1))
    with pytest.raises(BrokenImageError, match="2 pages in colour"):
        decode(encode(rgb, "TIFF", save_all=True, append_images=[rgb]), "x")
    grey = rgb.convert("L")
    with pytest.raises(BrokenImageError, match="pages differ in size: 16 x 16 and 8 x 8"):
        decode(encode(grey, "TIFF", save_all=True, append_images=[grey.resize((8, 8))]), "x")
    assert open_image(encode(grey, "TIFF", save_all=True, append_images=[grey]), "x").notes == ("pages read as bands",)


def test_masked_pixels_of_a_tiff_are_as_those_of_fits():
    array = np.ones((20, 20), np.float32)
    array[0] = np.nan
    assert not decode(tiff(array), "x")[0].any()
    array[1] = np.nan
    with pytest.raises(BrokenImageError, match="10 % of band '0' are NaN or infinite; at most 5 % may be"):
        decode(tiff(array), "x")


def tiled(how: str, array: np.ndarray | None = None, **header) -> bytes:
    out = io.BytesIO()
    array = np.arange(4096, dtype=np.int32).reshape(64, 64) if array is None else array
    hdu = fits.CompImageHDU(array, compression_type=how)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(out)
    data = out.getvalue()
    for keyword, value in header.items():
        at = data.index(keyword.ljust(8).encode() + b"=")
        data = data[: at + 10] + str(value).rjust(20).encode() + data[at + 30 :]
    return data


def forged_hcompress() -> bytes:
    """A tile that says it is far larger than it is."""
    data = tiled("HCOMPRESS_1")
    at = data.index(b"\xdd\x99")
    return data[: at + 2] + struct.pack(">ii", 30_000, 30_000) + data[at + 10 :]


def lost_tile() -> bytes:
    """The first tile lies a gigabyte behind the table."""
    data = tiled("RICE_1")
    begin = -(-data.index(b"END ", data.index(b"ZCMPTYPE")) // 2880) * 2880
    return data[:begin] + struct.pack(">ii", 6, 1 << 30) + data[begin + 8 :]


def gzip_tile_bomb() -> bytes:
    """The only tile unpacks to far more than its image."""
    bomb = gzip.compress(bytes(BOMB), 1, mtime=0)
    table = fits.BinTableHDU.from_columns(
        [fits.Column("COMPRESSED_DATA", "1PB()", array=np.array([np.frombuffer(bomb, np.uint8)], dtype=object))]
    )
    cards = {"ZIMAGE": True, "ZCMPTYPE": "GZIP_1", "ZBITPIX": 32, "ZNAXIS": 2, "ZNAXIS1": 64, "ZNAXIS2": 64}
    table.header.update(cards | {"ZTILE1": 64, "ZTILE2": 64})
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(out)
    return out.getvalue()


def huge_tiff(width: int, height: int, compression: int, body: bytes, bits: int = 16) -> bytes:
    """One strip; two samples, so that Pillow is not asked."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, compression), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 200), (277, 3, 1, 2), (278, 4, 1, height), (279, 4, 1, len(body)), (284, 3, 1, 1)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)).ljust(200, b"\0") + body


def two_widths() -> bytes:
    """Multiplied by the height of the image, a pair becomes a list of gigabytes."""
    one, two = struct.pack("<HHII", 256, 4, 1, 400), struct.pack("<HHII", 256, 4, 2, 8)
    return huge_tiff(400, 1 << 27, 1, b"").replace(one, two)


def fits_bomb(size: int = BOMB) -> bytes:
    """A header of a small image, and zeros without end."""
    head = io.BytesIO()
    fits.PrimaryHDU(np.zeros((8, 8), np.float32)).writeto(head)
    return head.getvalue() + bytes(size)


def webp_canvas() -> bytes:
    data = bytearray(encode(picture(1), "WEBP", lossless=True, exif=b"Exif\0\0II*\0"))
    assert data[12:16] == b"VP8X"
    data[24:30] = b"\xff\x3f\0\xff\x3f\0"
    return bytes(data)


def hostile() -> dict[str, tuple[bytes, str]]:
    """Files, and what is said of each."""
    grey = bytearray(encode(Image.new("L", (40, 40)), "TIFF"))
    width = (
        grey.index(struct.pack("<HH", 256, 3))
        if struct.pack("<HH", 256, 3) in grey
        else grey.index(struct.pack("<HH", 256, 4))
    )
    grey[width + 8 : width + 12], grey[width + 20 : width + 24] = (struct.pack("<I", 60_000),) * 2
    jp2 = bytearray(encode(picture(1), "JPEG2000"))
    at = jp2.index(b"\xff\x4f\xff\x51")
    box = jp2.index(b"ihdr") + 4
    jp2[at + 8 : at + 16] = jp2[box : box + 8] = struct.pack(">II", 60_000, 60_000)
    return {
        "gzip bomb": (gzip.compress(fits_bomb(), 1, mtime=0), f"unpacks to more than {UNPACKED} bytes"),
        "bzip2 bomb": (bz2.compress(fits_bomb(UNPACKED), 1), f"unpacks to more than {UNPACKED} bytes"),
        "tiles of 2^40 pixels": (tiled("RICE_1", ZTILE1=1 << 20, ZTILE2=1 << 20), "no tiles of a cutout"),
        "an image of 2^40 pixels": (tiled("RICE_1", ZNAXIS1=1 << 20, ZNAXIS2=1 << 20), "too many for a cutout"),
        "a tile of 30000 x 30000": (forged_hcompress(), "a tile of 30000 x 30000 pixels is no tile of its image"),
        "a tile that is a bomb": (gzip_tile_bomb(), "unpacks to more than"),
        "plio": (tiled("PLIO_1"), "with PLIO_1, which is not read"),
        "tiles cut off": (lost_tile(), "outside of the file, or on one another"),
        "huge tiff": (bytes(grey), "60000 x 60000 pixels are too many|3600000000 pixels"),
        "huge tiff of two samples": (huge_tiff(60_000, 60_000, 1, b""), "too many for a cutout"),
        "deflate bomb": (huge_tiff(40, 40, 8, zlib.compress(bytes(BOMB), 1)), "unpacks to more than its size"),
        "two widths": (two_widths(), "its tags of size are no whole numbers"),
        "short tiff": (huge_tiff(40, 40, 1, bytes(50)), "fewer bytes than pixels|truncated"),
        "webp of 16384 x 16384": (webp_canvas(), "16384 x 16384 pixels are too many"),
        "jpeg 2000 of 60000 x 60000": (bytes(jp2), "60000 x 60000 pixels are too many|3600000000 pixels"),
    }


@pytest.mark.soak
def test_hostile_files_are_refused_in_one_line_and_without_memory(tmp_path):
    """In a process that may not have 300 MB more."""
    files = hostile()
    for number, (data, _) in enumerate(files.values()):
        (tmp_path / str(number)).write_bytes(data)
    script = """
        import resource, sys
        from pathlib import Path
        import tifffile
        from astropy.io import fits
        from skythaw.data.decode import BrokenImageError, decode, open_image

        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
        for number in range(int(sys.argv[2])):
            try:
                decode(Path(sys.argv[1], str(number)).read_bytes(), "x")
                print("read")
            except BrokenImageError as error:
                print(error.reason)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(len(files))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == len(files)
    for (name, (_, reason)), line in zip(files.items(), said, strict=True):
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(line if line != "read" else f"{name} was read")
    assert not done.stderr


@few(1000)
def test_any_flip_of_any_format_gives_an_image_or_a_named_error(examples):
    rng, pixels = np.random.default_rng(1), picture(2, 24)
    deep = values("u2", (24, 24, 3), 1)
    wholes = [encode(pixels, kind) for kind in ("TIFF", "WEBP", "BMP", "GIF", "JPEG2000")]
    wholes += [
        tiff(deep, photometric="rgb"),
        tiff(np.moveaxis(deep, -1, 0), photometric="minisblack", compression="zlib"),
    ]
    wholes += [tiff(values("f8", (24, 24), 1)), deep_png(deep, 1), gzip.compress(Path(__file__).read_bytes())]
    wholes += [tiled(how) for how in ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "NOCOMPRESS")]
    for number in range(examples):
        flipped = bytearray(wholes[number % len(wholes)])
        for at in rng.integers(0, len(flipped), 3):
            flipped[at] ^= 1 << int(rng.integers(8))
        try:
            assert np.isfinite(decode(bytes(flipped), "x")).all()
        except BrokenImageError as error:
            assert error.reason.isprintable()  # noqa: PT017 - it may also not be raised


def test_what_could_unpack_without_bound_is_not_unpacked():
    data = huge_tiff(40, 40, 34925, zlib.compress(bytes(100)))
    with pytest.raises(BrokenImageError, match="with the compression LZMA: save it without, or deflated"):
        decode(data, "x")


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (values("i1", (20, 24), 1), {}),
        (values("i1", (3, 20, 24), 1), {"photometric": "minisblack"}),
        (values("u1", (20, 24, 2), 1), {"photometric": "minisblack", "planarconfig": "contig"}),
        (values("i2", (20, 24), 1), {"byteorder": ">", "compression": "zlib"}),
    ],
)
def test_what_pillow_would_get_wrong(array, options):
    """Signs, a second band, and big-endian numbers that are deflated."""
    right = array[..., None] if array.ndim == 2 else array if array.shape[2] == 2 else np.moveaxis(array, 0, -1)
    assert np.array_equal(decode(tiff(array, **options), "x"), right.astype(np.float32))
