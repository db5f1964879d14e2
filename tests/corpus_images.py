"""Odd and bad images, the same at every call: files that `decode` refuses with a reason, or may read."""

from __future__ import annotations

import bz2
import gzip
import io
import re
import struct
import warnings
import zlib

import numpy as np
from astropy.io import fits
from PIL import Image

from helpers_data import encode, picture
from skythaw.data.fits import encode_fits

SIDE = 40


def some_of(corpus: dict[str, tuple[bytes, bool]]) -> dict[str, tuple[bytes, bool]]:
    """Two of each family: names that begin alike are of one."""
    families: dict[tuple[str, str], list[str]] = {}
    for name in corpus:
        families.setdefault((re.match("[a-z]*", name)[0], name.rpartition(".")[2]), []).append(name)
    return {name: corpus[name] for names in families.values() for name in names[:2]}


def images() -> dict[str, tuple[bytes, bool]]:
    """By file name: the bytes, and whether a classifier of 8-bit images may give them probabilities."""
    jpeg, png = encode(picture(1, SIDE), quality=90), encode(picture(1, SIDE), "PNG")
    found: dict[str, tuple[bytes, bool]] = {}
    found |= {f"cut{i:03d}.jpg": (jpeg[: len(jpeg) * i // 150], False) for i in range(150)}
    found |= {f"cut{i:03d}.png": (png[: (len(png) - 20) * i // 100], False) for i in range(100)}
    for name, data, count in (("jpg", jpeg, 120), ("png", png, 60)):
        rng = np.random.default_rng(2)
        for i in range(count):
            flipped = bytearray(data)
            flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
            found[f"flip{i:03d}.{name}"] = (bytes(flipped), True)
    return found | _odd() | _foreign(jpeg, png) | _bombs()


def _odd() -> dict[str, tuple[bytes, bool]]:
    """Forms that are read, and sizes that are not."""
    image = Image.fromarray(picture(3, SIDE))
    found: dict[str, tuple[bytes, bool]] = {}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        found[f"mode {mode}.png"] = (encode(image.convert(mode), "PNG"), True)
    found["deep.png"] = (encode(picture(3, SIDE)[..., 0].astype(np.uint16) * 257, "PNG"), False)
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        for quality in (1, 50, 100):
            found[f"mode {mode} {quality}.jpg"] = (encode(image.convert(mode), quality=quality), True)
    for turn in range(1, 10):
        exif = Image.Exif()
        exif[274] = turn
        found[f"turned {turn}.jpg"] = (encode(image, exif=exif), True)
        found[f"turned {turn}.png"] = (encode(image, "PNG", exif=exif), True)
    found["animated.png"] = (encode(image, "PNG", save_all=True, append_images=[image.rotate(90)] * 5), True)
    found["progressive.jpg"] = (encode(image, progressive=True), True)
    found["interlaced.png"] = (_interlaced(image), True)
    for size in ((1, 1), (2, 2), (31, 31), (1, 40), (40, 1), (40, 41), (65535, 1), (1, 65535), (5000, 1), (4000, 4000)):
        fits_in = min(size) >= 32
        name = f"{size[0]}x{size[1]}"
        found[f"{name}.png"] = (encode(Image.new("L", size), "PNG"), fits_in)
        if max(size) < 65_000:
            found[f"{name}.jpg"] = (encode(Image.new("RGB", size)), fits_in)
    for number, tail in enumerate((b"\0", b"<script>", bytes(10_000), b"PK\3\4" + bytes(50))):
        found[f"tail {number}.jpg"] = (encode(image) + tail, True)
        found[f"tail {number}.png"] = (encode(image, "PNG") + tail, True)
    found["long comment.jpg"] = (encode(image, comment=b"x" * 60_000), True)
    return found


def _interlaced(image: Image.Image) -> bytes:
    """Announced as interlaced, which its data are not: too short or too long a stream."""
    data = bytearray(encode(image, "PNG"))
    data[28] = 1
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def _foreign(jpeg: bytes, png: bytes) -> dict[str, tuple[bytes, bool]]:
    image, found = Image.fromarray(picture(4, SIDE)), {}
    for kind in ("TIFF", "GIF", "BMP", "WEBP", "EPS", "PPM", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "MPO", "PDF"):
        try:
            data = encode(image, kind)
        except (OSError, KeyError):  # a codec that this Pillow lacks
            continue
        found[f"a {kind}.jpg"] = (data, kind in ("MPO", "TIFF", "GIF", "BMP", "WEBP", "JPEG2000"))
    texts = {
        "page": b"<!doctype html><html><h1>503 Service Unavailable</h1></html>",
        "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "json": b'{"error": "no image"}',
        "empty": b"",
        "zeros": bytes(5000),
        "magic": b"\xff\xd8\xff",
        "magic2": b"\xff\xd8\xff\xe0" + bytes(500),
        "pngmagic": b"\x89PNG\r\n\x1a\n",
        "pngzeros": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "wrong": b"\xff\xd9" + jpeg[2:],
        "wrongpng": b"\x88" + png[1:],
        "end": b"\xff\xd8\xff\xd9",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "gzipped": gzip.compress(jpeg, mtime=0),
        "zip": b"PK\3\4" + jpeg,
        "before": b"\0" + jpeg,
        "twice in one": png[:8] + jpeg,
    }
    rng = np.random.default_rng(5)
    found |= {f"{name}.{end}": (data, False) for name, data in texts.items() for end in ("jpg", "png")}
    return found | {f"noise{i:02d}.jpg": (rng.bytes(10 + 100 * i), False) for i in range(20)}


def _bombs() -> dict[str, tuple[bytes, bool]]:
    """Headers and streams that announce, or hold, far more than a cutout."""
    found: dict[str, tuple[bytes, bool]] = {}
    for width, height in (
        (5000, 4000),
        (20_000, 20_000),
        (65_535, 65_535),
        (2**31 - 1, 2**31 - 1),
        (0, 0),
        (2**31 - 1, 1),
    ):
        found[f"header {width}x{height}.png"] = (_png(width, height, b""), False)
    found["stream.png"] = (_png(SIDE, SIDE, bytes(100_000_000)), True)
    found["full.png"] = (_png(16_000, 16_000, bytes(50_000_000)), False)
    text = zlib.compress(bytes(100_000_000), 9)
    body = _png(SIDE, SIDE, b"".join(b"\0" + bytes(3 * SIDE) for _ in range(SIDE)))
    found["ztxt.png"] = (body[:33] + _chunk(b"zTXt", b"a\0\0" + text) + body[33:], False)
    found["iccp.png"] = (body[:33] + _chunk(b"iCCP", b"a\0\0" + text) + body[33:], True)
    huge = bytearray(encode(picture(6, SIDE)))
    at = huge.index(b"\xff\xc0")
    huge[at + 5 : at + 9] = struct.pack(">HH", 65_500, 65_500)
    return found | {"header.jpg": (bytes(huge), False)}


def _png(width: int, height: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def floats(bands: str = "ugriz") -> dict[str, tuple[bytes, bool]]:
    """FITS files by name: the bytes, and whether a classifier of these bands may give them probabilities."""
    rng = np.random.default_rng(7)
    pixels = rng.normal(0.1, 0.05, (SIDE, SIDE, len(bands))).astype(np.float32)
    whole = encode_fits(pixels, bands, {"BUNIT": "nanomaggy"})
    found = {f"cut{i:02d}.fits": (whole[: len(whole) * i // 40], False) for i in range(40)}
    for i in range(30):
        flipped = bytearray(whole)
        flipped[int(rng.integers(2880, len(whole)))] ^= 1 << int(rng.integers(8))
        found[f"flip{i:02d}.fits"] = (bytes(flipped), True)  # in the padding, or the checksum tells
    return found | _values(pixels, bands) | _structures(pixels, whole, bands)


def _values(pixels: np.ndarray, bands: str) -> dict[str, tuple[bytes, bool]]:
    found = {}
    for name, value in {"nan": np.nan, "inf": np.inf, "minus inf": -np.inf, "special": -9999, "huge": 3e38}.items():
        for share in (0.0, 0.02, 0.1, 1.0):
            each = pixels.copy()
            each.reshape(-1, len(bands))[: max(1, int(share * SIDE**2))] = value
            found[f"{name} {share}.fits"] = (encode_fits(each, bands), bool(np.isfinite(value)) or share < 0.05)
    found["zeros.fits"] = (encode_fits(np.zeros_like(pixels), bands), True)
    found["double.fits"] = (_cube(np.full((5, SIDE, SIDE), 1e300), bands), False)
    return found


def _structures(pixels: np.ndarray, whole: bytes, bands: str) -> dict[str, tuple[bytes, bool]]:
    cube = np.moveaxis(pixels, -1, 0)
    found: dict[str, tuple[bytes, bool]] = {}
    for kind in ("u1", "i2", "i4", "i8", "f4", "f8"):
        found[f"type {kind}.fits"] = (_cube((cube * 100).astype(kind), bands), True)
    scaled = fits.PrimaryHDU((cube * 1000).astype(np.int16))
    scaled.header["BSCALE"], scaled.header["BZERO"], scaled.header["BANDS"] = 0.001, 5.0, bands
    found["scaled.fits"] = (_file(scaled), True)
    for key, value in (("BSCALE", 1e38), ("BZERO", 3e38), ("BLANK", 0)):
        each = fits.PrimaryHDU((cube * 1000).astype(np.int16))
        each.header[key], each.header["BANDS"] = value, bands
        found[f"{key} {value}.fits"] = (_file(each), True)
    for axes in ((10,), (1, 5, SIDE, SIDE), (4, SIDE, SIDE), (SIDE, SIDE), (5, SIDE, 20), (5, 8, 8), (200, 8, 8)):
        found[f"axes {axes}.fits"] = (_cube(np.zeros(axes), bands[: axes[0]]), False)
    card = b"NAXIS1  =                   40"
    for value in (b"1600000000", b"-40", b"'ab'", b"4.5", b"", b"T", b"9" * 20, b"0"):
        found[f"NAXIS1 {value.decode()}.fits".replace("'", "")] = (
            whole.replace(card, b"NAXIS1  =" + value.rjust(21)),
            False,
        )
    for old, new in (
        (b"NAXIS   =                    3", b"NAXIS   =                  999"),
        (b"BITPIX  =                  -32", b"BITPIX  =                  -31"),
        (b"BITPIX  =                  -32", b"BITPIX  =                    0"),
        (b"BITPIX  =                  -32", b"BITPIX  =                  'x'"),
        (b"END" + b" " * 77, b" " * 80),
        (b"SIMPLE  =                    T", b"SIMPLE  =                    F"),
        (b"nanomaggy", b"nanomagga"),
        (b"'ugriz", b"'ugrzi"),
    ):
        found[f"{new[:12].decode().strip(chr(39))} {len(found)}.fits"] = (whole.replace(old, new), False)
    found["unit.fits"] = (encode_fits(pixels, bands, {"BUNIT": "Jy"}), True)
    found["names.fits"] = (encode_fits(pixels, "abcde"), False)
    found["gz.fits"] = (gzip.compress(bytes(300_000_000), mtime=0), False)
    found["bz2.fits"] = (bz2.compress(bytes(300_000_000)), False)
    found["whole gz.fits"] = (gzip.compress(whole, mtime=0), True)
    found["page.fits"] = (b"<html>no</html>", False)
    found["magic.fits"] = (b"SIMPLE  =", False)
    found["magics.fits"] = (b"SIMPLE  =" * 50_000, False)
    found["packed.fits"] = (_file(fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((64, 64), np.int16))), False)
    found["empty.fits"] = (b"", False)
    found["picture.fits"] = (encode(picture(1, SIDE)), False)
    return found


def _cube(cube: np.ndarray, bands: str) -> bytes:
    hdu = fits.PrimaryHDU(cube)
    hdu.header["BANDS"] = bands
    return _file(hdu)


def _file(*parts: fits.PrimaryHDU) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(list(parts)).writeto(out, output_verify="silentfix")
    return out.getvalue()
