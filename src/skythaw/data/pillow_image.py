"""Images that Pillow opens: 8 bits become red, green and blue; what has more bits keeps its values, as floats."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from skythaw.data.image_form import LARGEST, RGB, Form, OpenImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "JPEG2000")
SHARES = {"WEBP": 4, "JPEG2000": 4, "BMP": 2, "TIFF": 2}
"""by how much fewer pixels than `LARGEST` an image of a format may have, because its decoder takes more memory"""
CODESTREAM = b"\xff\x4f\xff\x51"
SINGLE = "0"
"""the name of the only band of an image that does not name it"""


def open_pillow(data: bytes) -> OpenImage:
    """An image of one of the `FORMATS`, its header read; raises `UnidentifiedImageError` for any other file.

    Grey becomes three equal bands, transparency becomes black sky, CMYK and palettes are converted. Of an animation the
    first frame is taken. EXIF orientation is ignored: the pixels stay as stored. 16 bits are floats: one band if grey.
    """
    _require_canvas(data)
    with careful():
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    require_pixels(image.width, image.height, image.format)
    size, deep = (image.height, image.width), _bits(data, image)
    if deep <= 8:
        return OpenImage(Form(size), lambda: _loaded(image))
    if image.mode in ("RGB", "RGBA", "LA"):
        require_pixels(image.width, image.height, image.format, 3)
        return OpenImage(Form(size, RGB, "float32"), lambda: deep_colour(image, data))
    scale = 1 << (16 - deep) if image.format == "JPEG2000" else 1
    return OpenImage(Form(size, (SINGLE,), "float32"), lambda: grey_values(image) / np.float32(scale))


def require_pixels(width: int, height: int, kind: str | None, bands: int = 1) -> None:
    """Raise `ValueError` for more pixels than a cutout has in a format of this name; those of all bands, of floats."""
    if width * height * bands > LARGEST // SHARES.get(kind or "", 1):
        what = f" in {bands} bands" if bands > 1 else ""
        raise ValueError(f"{width} x {height} pixels{what} are too many for a cutout")


@contextmanager
def careful() -> Iterator[None]:
    """Pillow's warnings are silent, except for one, which is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def rgb(image: Image.Image) -> Image.Image:
    """An image of 8 bits as red, green and blue."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB")


def grey_values(image: Image.Image) -> np.ndarray:
    """The values of a grey image of more than 8 bits as they are, float32 [y, x, 1]."""
    with careful():
        image.load()
    return np.asarray(image).astype(np.float32)[..., None]


def deep_colour(image: Any, data: bytes) -> np.ndarray:
    """The values of a colour image of 16 bits, float32 [y, x, (red, green, blue)]; transparency becomes black sky.

    Pillow keeps the upper 8 bits. So the file is decoded once more, in the other order of bytes: then the upper bits
    are the lower ones.
    """
    if image.mode == "LA" or image.tile[0].args == "LA;16B":
        pair = _decoded(data, image.format, {"LA;16B": "RGBA"})  # two numbers of 16 bits, as four of 8
        values = (pair[..., ::2].astype(np.uint16) << 8) | pair[..., 1::2]
        values = values[..., [0, 0, 0, 1]]
    else:
        other = "B" if sys.byteorder == "little" else "L"
        swap = {f"{m};16{a}": f"{m};16{b}" for m in ("RGB", "RGBA") for a, b in ("BL", "LB", ("N", other))}
        low = _decoded(data, image.format, swap)
        with careful():
            image.load()
        values = (np.asarray(image).astype(np.uint16) << 8) | low
    if values.shape[-1] == 4:
        return values[..., :3] * (values[..., 3:] / np.float32(65535))
    return values.astype(np.float32)


def _decoded(data: bytes, kind: str | None, modes: dict[str, str]) -> np.ndarray:
    """The bytes of an image, read in other raw modes than those that its file names."""
    with careful(), Image.open(io.BytesIO(data), formats=[kind or ""]) as image:
        tiles = []
        for tile in image.tile:
            args: Any = tile.args
            named = args if isinstance(args, str) else args[0]
            if named not in modes:
                raise ValueError(f"colours of more than 8 bits in the form {named} are not read: save it as FITS")
            tiles.append(tile._replace(args=modes[named] if isinstance(args, str) else (modes[named], *args[1:])))
        image.tile = tiles
        image.load()
        return np.asarray(image)


def _loaded(image: Image.Image) -> np.ndarray:
    with careful():
        image.load()
        return np.asarray(rgb(image))


def _bits(data: bytes, image: Image.Image) -> int:
    """Bits of a value, as the file says."""
    if image.format == "PNG":
        return data[24]
    if image.format != "JPEG2000":
        return 8
    at = data.find(CODESTREAM)
    if at < 0 or len(data) < at + 45:
        raise ValueError("its JPEG 2000 codestream has no header")
    right, bottom, left, top = (int.from_bytes(data[at + i : at + i + 4], "big") for i in (8, 12, 16, 20))
    if (right - left, bottom - top) != image.size:
        raise ValueError("its JPEG 2000 codestream has another size than its header")
    count = int.from_bytes(data[at + 40 : at + 42], "big")
    bits = max((value & 0x7F) + 1 for value in data[at + 42 : at + 42 + 3 * count : 3])
    if bits > (8 if count > 1 else 16):
        raise ValueError(f"a JPEG 2000 image of {count} bands with {bits} bits is not read: save it as FITS or TIFF")
    return bits


def _require_canvas(data: bytes) -> None:
    """Raise `ValueError` for a WebP file that announces too many pixels: its decoder takes memory when it is opened."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return
    width = height = 0
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif data[12:16] == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    require_pixels(width, height, "WEBP")
