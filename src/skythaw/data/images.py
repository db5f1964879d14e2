"""Decode one image, and refuse whatever is not a whole, sensible JPEG or PNG."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from skythaw.errors import DataError

FORMATS = ("JPEG", "PNG")
LARGEST = 1 << 24
"""pixels; a cutout of more (4096 x 4096) is a mistake or an attack"""


class BrokenImageError(DataError):
    """One image can't be used; `name` is the object's, `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"the image of object {self.name!r} is broken: {self.reason}"


def decode(data: bytes, name: str) -> np.ndarray:
    """Decode a JPEG or PNG file to RGB.

    Grey becomes three equal bands, transparency becomes black sky, CMYK and palettes are converted, 16 bits keep their
    upper 8, an animation its first frame. EXIF orientation is ignored: the pixels stay as stored. The whole file is
    decoded, so a truncated one is found; a JPEG with a flipped bit often decodes, and only a checksum finds it.

    Parameters
    ----------
    data
        the file's content; the format is told by it, not by a name
    name
        the object's id, for errors

    Returns
    -------
    numpy.ndarray
        uint8 [y, x, band]; bands are red, green, blue

    Raises
    ------
    BrokenImageError
        Not a JPEG or PNG, truncated, damaged, or of more than 16.8 million pixels.
    """
    with _opened(data, name) as image:
        image.load()
        return np.asarray(_rgb(image))


def probe_size(data: bytes, name: str = "?") -> tuple[int, int]:
    """Height and width of a JPEG or PNG file in pixels, from its header alone; raises as `decode` does."""
    with _opened(data, name) as image:
        return image.height, image.width


def one_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """The one (height, width) of all images, from how often each occurs; `DataError` if there are several."""
    if len(sizes) > 1:
        found = ", ".join(f"{x} x {y} px ({count} images)" for (y, x), count in sizes.most_common(6))
        raise DataError(f"images of {len(sizes)} sizes: {found}; all must be of one size: cut or resize them alike")
    return next(iter(sizes))


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """An image with its header read. Whatever Pillow raises or warns of, here or inside, is the image's fault."""
    if not data:
        raise BrokenImageError(name, "it has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > LARGEST:
                    raise ValueError(f"{image.width} x {image.height} pixels are too many for a cutout")
                yield image
    except UnidentifiedImageError:
        raise BrokenImageError(name, f"not a JPEG or PNG file (it begins with {data[:8]!r})") from None
    except Exception as error:
        raise BrokenImageError(name, str(error) or type(error).__name__) from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image), 0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    return image.convert("RGB")
