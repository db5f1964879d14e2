"""Arrays of pixels as a user has them: brought to [object, y, x, band] in the values of training, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from skythaw.bundle.bundle_file import Expected
from skythaw.data.image_form import RGB
from skythaw.data.pillow_image import rgb
from skythaw.errors import DataError

NEAR = 1e-4
"""how near to a whole number 255 times a value must be, to be one of 8 bits"""


def one_array(given: Any) -> np.ndarray | None:
    """The numbers of an array, a tensor or a PIL image; None of what has none."""
    if hasattr(given, "getbands"):  # PIL, 8 bits as files are read
        return np.asarray(given if given.mode.startswith(("I", "F")) else rgb(given))
    if hasattr(given, "detach"):  # torch
        given = given.detach().cpu()
        half = given.is_floating_point() and given.element_size() < 4
        given = (given.float() if half else given).numpy()
    if isinstance(given, np.ma.MaskedArray):
        given = given.filled(np.nan) if given.dtype.kind == "f" else given.filled()
    if isinstance(given, np.ndarray):
        return np.asarray(given)
    return np.asarray(given) if hasattr(given, "__array__") else None


def as_stack(array: np.ndarray, expected: Expected, *, first: bool = False, one: bool = False) -> np.ndarray:
    """An array as a stack [object, y, x, band] of the values that the classifier was trained on.

    Parameters
    ----------
    array
        one image or several; without an axis of bands it is grey
    expected
        of an image
    first
        whether the bands may come before y and x, as torch has them; else that is refused
    one
        whether it must be one image

    Raises
    ------
    DataError
        Its axes or values are others, and can't be brought to these without a guess.
    """
    bands = len(expected.bands)
    stack = _moved(array, bands, first)
    if stack is None:
        stack = _with_bands(array, bands, one)
    if stack.shape[-1] == 1 and expected.bands == RGB and expected.dtype == "uint8":
        stack = np.repeat(stack, 3, axis=-1)  # grey, as files of grey are read
    if one and len(stack) != 1:
        raise DataError(f"an array of shape {array.shape} is several images: give it alone, not in a list")
    return _valued(stack, expected) if stack.shape[-1] == bands else stack


def _moved(array: np.ndarray, bands: int, first: bool) -> np.ndarray | None:
    """An array whose bands come before y and x, with them at the end; None where they are at the end."""
    if array.ndim not in (3, 4) or array.shape[-3] != bands or (array.shape[-1] == bands and not first):
        return None
    if array.shape[-1] == array.shape[-2] == bands and not first:
        return None
    if not first:
        axis = array.ndim - 3
        raise DataError(
            f"an array of shape {array.shape} has its {bands} bands before y and x: this classifier takes [object, y, "
            f"x, band]; give np.moveaxis(images, {axis}, -1)"
        )
    return np.moveaxis(array if array.ndim == 4 else array[None], 1, -1)


def _with_bands(array: np.ndarray, bands: int, one: bool) -> np.ndarray:
    if array.ndim == 4:
        return array
    if array.ndim == 3:
        return array[None] if array.shape[-1] in (bands, 1) or one else array[..., None]
    if array.ndim == 2:
        return array[None, ..., None]
    raise DataError(f"an array of shape {array.shape} holds no images: give [object, y, x, band], with {bands} bands")


def _valued(stack: np.ndarray, expected: Expected) -> np.ndarray:
    """The values of training: 8 bits where that loses nothing, or floats."""
    if expected.dtype == "float32":
        return stack if stack.dtype == np.uint8 else stack.astype(np.float32)
    if stack.dtype == np.uint8 or not stack.size:
        return stack.astype(np.uint8)
    low, high = (float(each) for each in (stack.min(), stack.max()))
    for scale in (255,) if low >= 0 and high <= 1 and stack.dtype.kind == "f" else (1,):
        whole = np.rint(scale * stack.astype(np.float64))
        if low >= 0 and high * scale <= 255 and np.abs(whole - scale * stack).max() < NEAR * scale:
            return whole.astype(np.uint8)
    raise DataError(
        f"images of {stack.dtype} with values from {low:g} to {high:g}: this classifier was trained on 8 bits, from 0 "
        "to 255; give np.uint8, such as (255 * images).round().astype(np.uint8) where 1 is white"
    )
