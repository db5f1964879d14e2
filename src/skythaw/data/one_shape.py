"""Images of several sizes, or not square: cut from the centre, padded with sky, or scaled to squares of one size."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence

import numpy as np
from PIL import Image

from skythaw.data.fits import encode_fits
from skythaw.data.image_form import Form
from skythaw.errors import DataError

LEAST = 16
"""pixels; a smaller common square is no cutout"""
Sized = tuple[str, tuple[int, int]]
"""an image's name, and its height and width"""


def common_side(sized: Sequence[Sized]) -> int | None:
    """The side of the largest square that fits in every image; None if all are such squares.

    Raises
    ------
    DataError
        It has less than `LEAST` pixels, or some image is less than half as large as most are.
    """
    if len({size for _, size in sized}) < 2 and all(height == width for _, (height, width) in sized):
        return None
    sides = [min(size) for _, size in sized]
    side, usual = min(sides), statistics.median(sides)
    if side >= LEAST and 2 * side >= usual:
        return side
    least = sorted(sized, key=lambda each: (min(each[1]), each[0]))[:3]
    named = ", ".join(f"{name} ({width} x {height} px)" for name, (height, width) in least)
    raise DataError(
        f"the largest square that fits in every image has {side} px a side, and most have room for {usual:g}; the "
        f"smallest are {named}; --size N cuts the others to N x N px and pads these, or leave these out"
    )


def squared(pixels: np.ndarray, side: int, resize: bool = False) -> tuple[np.ndarray, str | None]:
    """An image [y, x, band] as a square of `side` pixels, and what was done in words; None if nothing was.

    It is cut around its centre, beginning at pixel (n - side) // 2, and padded with the median of its border where it
    is too small; with `resize` its largest central square is scaled, with antialiasing.
    """
    height, width = pixels.shape[:2]
    if (height, width) == (side, side):
        return pixels, None
    if resize:
        return _scaled(_cut(pixels, min(height, width)), side), f"scaled to {side} x {side} px"
    cut = _cut(pixels, side)
    if cut.shape[:2] == (side, side):
        return cut, f"cut to the central {side} x {side} px"
    sky = _border_median(pixels)
    padded = np.empty((side, side, pixels.shape[2]), pixels.dtype)
    padded[:] = sky
    top, left = ((side - length) // 2 for length in cut.shape[:2])
    padded[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return padded, f"padded with sky to {side} x {side} px"


def encode_pixels(pixels: np.ndarray, form: Form) -> bytes:
    """A file that holds these pixels without loss: PNG for 8 bits, FITS for floats."""
    if form.floats:
        return encode_fits(pixels, form.bands)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()


def _cut(pixels: np.ndarray, side: int) -> np.ndarray:
    """What of the central square of an image is there."""
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _border_median(pixels: np.ndarray) -> np.ndarray:
    """The median of the outermost pixels of each band."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    median = np.median(border, axis=0)
    return median.astype(pixels.dtype) if pixels.dtype.kind == "f" else median.round().astype(pixels.dtype)


def _scaled(pixels: np.ndarray, side: int) -> np.ndarray:
    bands = [
        np.asarray(Image.fromarray(np.ascontiguousarray(band)).resize((side, side), Image.Resampling.BICUBIC))
        for band in np.moveaxis(pixels, -1, 0)
    ]
    return np.stack(bands, axis=-1)
