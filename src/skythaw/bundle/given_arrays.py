"""Arrays of pixels as a user has them: brought to [object, y, x, band] in the values of training, or refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from skythaw.bundle.bundle_file import Expected
from skythaw.data.image_form import RGB
from skythaw.data.pillow_image import rgb
from skythaw.errors import DataError

SHORT = 8
"""pixels: a shorter last axis holds bands"""
NEAR = 1e-4
"""how near to a whole number 255 times a value must be, to be one of 8 bits"""


def one_array(given: Any) -> np.ndarray | None:
    """The numbers of an array, a tensor, a PIL image or astropy's NDData; None of what has none. Masked ones are NaN.

    Raises
    ------
    DataError
        They are truth values, complex, or whole numbers of which some are masked: all are no brightness.
    """
    if hasattr(given, "getbands"):  # PIL, 8 bits as files are read
        return np.asarray(given if given.mode.startswith(("I", "F")) else rgb(given))
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
        half = given.is_floating_point() and given.element_size() < 4
        given = (given.float() if half else given).numpy()
    given = _with_mask(given)
    if not hasattr(given, "__array__"):
        return None
    array = np.asarray(given)
    if array.dtype.kind == "b":
        raise DataError(
            f"an array of truth values (bool), of shape {array.shape}, holds no brightness: give np.uint8, such as "
            "255 * images.astype(np.uint8) where True is white"
        )
    if array.dtype.kind == "c":
        raise DataError(
            f"an array of complex numbers ({array.dtype}), of shape {array.shape}, holds no brightness: give real "
            "numbers, such as abs(images)"
        )
    return _unmasked(given) if isinstance(given, np.ma.MaskedArray) else array


def _with_mask(given: Any) -> Any:
    """What astropy masks (a `Masked` array or quantity, or `NDData`) as a masked array of NumPy; all else as it is."""
    if isinstance(given, np.ndarray) and hasattr(given, "unmasked"):
        data = given.unmasked
    elif hasattr(given, "uncertainty") and hasattr(given, "mask"):
        data = given.data
    else:
        return given
    array = np.asarray(data)
    hidden = np.asarray(False if given.mask is None else given.mask, bool)
    return np.ma.MaskedArray(array, np.broadcast_to(hidden, array.shape))


def _unmasked(given: np.ma.MaskedArray[Any, Any]) -> np.ndarray:
    """The numbers of a masked array; masked floats are NaN."""
    if given.dtype.kind == "f":
        return given.filled(np.nan)
    if count := int(np.ma.getmaskarray(given).sum()):
        raise DataError(
            f"{count} pixels of an array of {given.dtype} are masked, and whole numbers have none that says so: fill "
            "them, such as images.filled(0)"
        )
    return np.asarray(given.data)


def scale_of(arrays: Iterable[np.ndarray]) -> int:
    """What floats are multiplied by to be those of 8 bits: 255 where all of them are from 0 to 1, else 1."""
    floats = [each for each in arrays if each.dtype.kind == "f" and each.size]
    return 255 if floats and all(each.min() >= 0 and each.max() <= 1 for each in floats) else 1


def as_stack(
    array: np.ndarray,
    expected: Expected | None,
    *,
    first: bool = False,
    number: int | None = None,
    scale: int | None = None,
) -> np.ndarray:
    """An array as a stack [object, y, x, band] of the values that the classifier was trained on.

    Parameters
    ----------
    array
        one image or several; without an axis of bands it is grey
    expected
        of an image; None takes floats in any number of bands, which are fewer than the pixels of a row or column
    first
        whether the bands may come before y and x, as torch has them; else that is refused
    number
        which image of a list it is: then it must be one; None is an array that was given alone
    scale
        of floats, as `scale_of` finds it in the whole list; None finds it in the array

    Raises
    ------
    DataError
        Its axes or values are others, and can't be brought to these without a guess; or a pixel is NaN or infinite.
    """
    bands = _bands_of(array.shape, number is not None) if expected is None else len(expected.bands)
    grey = expected is not None and expected.bands == RGB and expected.dtype == "uint8"
    stack = _moved(array, bands, first)
    if stack is None and grey:
        stack = _moved(array, 1, first)
    if stack is None:
        one = number is not None or (expected is not None and _ends_in_bands(array.shape, expected))
        stack = _with_bands(array, bands, one)
    if stack.shape[-1] == 1 and grey:
        stack = np.repeat(stack, 3, axis=-1)  # grey, as files of grey are read
    if number is not None and len(stack) != 1:
        raise DataError(f"an array of shape {array.shape} is several images: give it alone, not in a list")
    if expected is not None and stack.shape[-1] != bands:
        raise DataError(_of_other_bands(array.shape, stack.shape[-1], expected))
    if stack.dtype.kind == "f":
        _require_finite(stack, number)
    return stack if expected is None else _valued(stack, expected, scale)


def _require_finite(stack: np.ndarray, number: int | None) -> None:
    """Raise `DataError` where a float is NaN, or infinite in the 32 bits with which a network computes."""
    with np.errstate(over="ignore"):
        kept = stack.astype(np.float32, copy=False)
    odd = ~np.isfinite(kept)
    if not odd.any():
        return
    at = int(odd.any((1, 2, 3)).argmax())
    nan = int(np.isnan(kept[at]).sum())
    found = f"{nan} values that are NaN (or masked)"
    if not nan:
        found = f"{int(odd[at].sum())} values that are infinite (or above {np.finfo(np.float32).max:.2g}, in 32 bits)"
    raise DataError(f"image {at if number is None else number} has {found}: fill them, or leave it out")


def _of_other_bands(shape: tuple[int, ...], last: int, expected: Expected) -> str:
    found = f"no axis of {len(expected.bands)} bands"
    if _ends_in_bands(shape, expected):
        found = f"the bands {', '.join(map(str, range(last)))}"
    return (
        f"an array of shape {shape} has {found}: this classifier was trained on {expected.dtype} with "
        f"{', '.join(expected.bands)}; give [object, y, x, band]"
    )


def _ends_in_bands(shape: tuple[int, ...], expected: Expected) -> bool:
    """Whether the last axis is too short to be a row of an image."""
    return len(shape) > 2 and shape[-1] < min(SHORT, expected.side)


def _bands_of(shape: tuple[int, ...], one: bool) -> int:
    """The number of bands of an image or a stack of which no number is known: there are fewer bands than pixels."""
    if len(shape) < 3 or (len(shape) == 3 and not one):
        return 1
    return shape[-3] if shape[-3] < min(shape[-2:]) else shape[-1]


def _moved(array: np.ndarray, bands: int, first: bool) -> np.ndarray | None:
    """An array whose bands come before y and x, with them at the end; None where they are at the end."""
    if array.ndim not in (3, 4) or array.shape[-3] != bands or (array.shape[-1] == bands and not first):
        return None
    first = first or (array.ndim == 3 and bands == 1)  # one grey image, whichever its axis is
    if not first:
        axis = array.ndim - 3
        raise DataError(
            f"an array of shape {array.shape} has its {bands} band{'s' * (bands > 1)} before y and x: this classifier "
            f"takes [object, y, x, band]; give np.moveaxis(images, {axis}, -1)"
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


def _valued(stack: np.ndarray, expected: Expected, scale: int | None) -> np.ndarray:
    """The values of training: 8 bits where that loses nothing, or floats."""
    if expected.dtype == "float32":
        return stack if stack.dtype == np.uint8 else stack.astype(np.float32)
    if stack.dtype == np.uint8 or not stack.size:
        return stack.astype(np.uint8)
    low, high = (float(each) for each in (stack.min(), stack.max()))
    if scale is None or stack.dtype.kind != "f":
        scale = scale_of([stack])
    whole = np.rint(scale * stack.astype(np.float64))
    if low >= 0 and high * scale <= 255 and np.abs(whole - scale * stack).max() < NEAR * scale:
        return whole.astype(np.uint8)
    raise DataError(
        f"images of {stack.dtype} with values from {low:g} to {high:g}: the classifier is trained on 8 bits, from 0 to "
        "255; give np.uint8, such as (255 * images).round().astype(np.uint8) where 1 is white, or train it with a "
        "stretch, which says how bright floats are"
    )
