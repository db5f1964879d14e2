"""Decode one image, and refuse whatever is not a whole, sensible JPEG, PNG or FITS file."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from skythaw.data.fits import MAGIC, decode_fits, probe_fits
from skythaw.data.image_form import LARGEST, Form
from skythaw.data.jpeg import decode_plain, plain_size
from skythaw.errors import DataError

FORMATS = ("JPEG", "PNG")


class BrokenImageError(DataError):
    """One image can't be used; `name` is the object's, `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"the image of object {self.name!r} is broken: {self.reason}"


def decode(data: bytes, name: str, require: Callable[[Form], object] = lambda form: None) -> np.ndarray:
    """Decode a JPEG or PNG file to RGB, or a FITS file to its bands.

    In JPEG and PNG grey becomes three equal bands, transparency becomes black sky, CMYK and palettes are converted, 16
    bits keep their upper 8, an animation its first frame. EXIF orientation is ignored: the pixels stay as stored. The
    whole file is decoded, so a truncated one is found; a JPEG with a flipped bit often decodes, and only a checksum
    finds it. Of FITS: see `skythaw.data.fits.decode_fits`.

    Parameters
    ----------
    data
        the file's content; the format is told by it, not by a name
    name
        the object's id, for errors
    require
        gets the form that the file's header tells; what it raises becomes the reason, also of a file torn after it

    Returns
    -------
    numpy.ndarray
        [y, x, band], rows from the top: uint8 (red, green, blue), or float32 of FITS

    Raises
    ------
    BrokenImageError
        Not a JPEG, PNG or FITS file, truncated, damaged, of more than 16.8 million pixels, or with too many masked.
    """
    if data.startswith(MAGIC):
        with _blaming(name, data):
            require(probe_fits(data))
            return decode_fits(data)
    if (size := plain_size(data)) and (pixels := decode_plain(data, size)) is not None:
        with _blaming(name, data):
            require(Form(size))
        return pixels
    with _opened(data, name) as image:
        require(Form((image.height, image.width)))
        image.load()
        return np.asarray(_rgb(image))


def require_checksum(data: bytes, sha256: str, name: str) -> None:
    """Raise `BrokenImageError` unless the bytes of an image file have this SHA-256."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BrokenImageError(name, "its bytes differ from their checksum")


def middle(pixels: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image [y, x, band], `side` pixels wide and high: a copy, so that the rest can be freed."""
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side].copy()


def probe(data: bytes, name: str = "?") -> Form:
    """Size, bands and type of an image, from the header of its file alone; raises as `decode` does."""
    if data.startswith(MAGIC):
        with _blaming(name, data):
            return probe_fits(data)
    with _opened(data, name) as image:
        return Form((image.height, image.width))


def bands_of(data: bytes, name: str = "?") -> tuple[str, ...]:
    """The names of an image's bands, from the header of its file alone; raises as `decode` does."""
    return probe(data, name).bands


@contextmanager
def _blaming(name: str, data: bytes) -> Iterator[None]:
    """Whatever a library raises inside is the image's fault."""
    try:
        yield
    except UnidentifiedImageError:
        raise BrokenImageError(name, f"not a JPEG, PNG or FITS file (it begins with {data[:8]!r})") from None
    except Exception as error:
        raise BrokenImageError(name, " ".join(str(error).split()) or type(error).__name__) from None


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """An image with its header read. Whatever Pillow raises or warns of, here or inside, is the image's fault."""
    if not data:
        raise BrokenImageError(name, "it has no bytes")
    with _blaming(name, data), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > LARGEST:
                raise ValueError(f"{image.width} x {image.height} pixels are too many for a cutout")
            yield image


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
