"""Decode one image, and refuse whatever is not a whole, sensible image file of a format that is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from PIL import UnidentifiedImageError

from skythaw.data.fits import MAGIC, open_fits
from skythaw.data.image_form import DEFAULT, LARGEST, Form, OpenImage, ReadChoice
from skythaw.data.jpeg import decode_plain, plain_size
from skythaw.data.pillow_image import open_pillow
from skythaw.data.tiff_image import TIFF, open_tiff
from skythaw.data.unpack import first_bytes, is_packed, unpack
from skythaw.errors import DataError
from skythaw.machine.machine_fault import raise_if_memory_is_short

READ = "JPEG, PNG or FITS file, nor TIFF, WebP, BMP, GIF or JPEG 2000"


class BrokenImageError(DataError):
    """One image can't be used; `name` is the object's, `reason` says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"the image of object {self.name!r} is broken: {self.reason}"


def decode(
    data: bytes,
    name: str,
    require: Callable[[Form], object] = lambda form: None,
    choice: ReadChoice = DEFAULT,
) -> np.ndarray:
    """Decode an image file: 8 bits to red, green and blue; more bits, and FITS, to floats in their bands.

    The whole file is decoded, so a truncated one is found; a JPEG with a flipped bit often decodes, and only a checksum
    finds it. See `skythaw.data.pillow_image.open_pillow`, `skythaw.data.tiff_image.open_tiff` and
    `skythaw.data.fits.open_fits`.

    Parameters
    ----------
    data
        the file's content; the format is told by it, not by a name
    name
        the object's id, for errors
    require
        gets the form that the file's header tells; what it raises becomes the reason, also of a file torn after it
    choice
        which extensions of a FITS file, and how many masked pixels

    Returns
    -------
    numpy.ndarray
        [y, x, band], rows from the top: uint8 (red, green, blue), or float32

    Raises
    ------
    BrokenImageError
        Not a file that is read, truncated, damaged, of more than 16.8 million pixels, or with too many masked.
    """
    with _blaming(name, data):
        image = _opened(data, choice)
        require(image.form)
        return image.load()


def open_image(data: bytes, name: str, choice: ReadChoice = DEFAULT) -> OpenImage:
    """An image file with its header read; raises as `decode` does, here and when it is loaded."""
    with _blaming(name, data):
        image = _opened(data, choice)

    def load() -> np.ndarray:
        with _blaming(name, data):
            return image.load()

    return OpenImage(image.form, load, image.notes)


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
    return open_image(data, name).form


def bands_of(data: bytes, name: str = "?") -> tuple[str, ...]:
    """The names of an image's bands, from the header of its file alone; raises as `decode` does."""
    return probe(data, name).bands


def _opened(data: bytes, choice: ReadChoice) -> OpenImage:
    if not data:
        raise ValueError(getattr(data, "reason", "it has no bytes"))  # skythaw.data.parquet_images.NoImage
    if (size := plain_size(data)) and 0 < size[0] * size[1] <= LARGEST:
        return OpenImage(Form(size), lambda: _plain(data, size))
    if is_packed(data):
        if not first_bytes(data).startswith(MAGIC):
            raise ValueError("it is packed, and what is in it does not begin as a FITS file does")
        data = unpack(data)
    if data.startswith(MAGIC):
        return open_fits(data, choice)
    return open_tiff(data, choice) if data.startswith(TIFF) else open_pillow(data)


def _plain(data: bytes, size: tuple[int, int]) -> np.ndarray:
    pixels = decode_plain(data, size)
    return open_pillow(data).load() if pixels is None else pixels


@contextmanager
def _blaming(name: str, data: bytes) -> Iterator[None]:
    """Whatever a library raises inside is the image's fault, unless memory is short."""
    try:
        yield
    except BrokenImageError:
        raise
    except UnidentifiedImageError:
        raise BrokenImageError(name, f"not a {READ} (it begins with {data[:8]!r})") from None
    except Exception as error:
        raise_if_memory_is_short(error)
        raise BrokenImageError(name, " ".join(str(error).split()) or type(error).__name__) from None
