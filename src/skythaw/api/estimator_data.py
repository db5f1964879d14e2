"""Images, labels and groups as `SkythawClassifier` is given them: brought to arrays and divided, or refused."""

from __future__ import annotations

import math
from collections import Counter
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from skythaw.bundle.bundle_file import Expected
from skythaw.bundle.classifier import decoded
from skythaw.bundle.given_images import is_absent, read_given
from skythaw.data.image_form import RGB
from skythaw.errors import DataError, SpecError

LARGEST = 2**32 - 1
"""of a seed, as scikit-learn takes it"""


def form_of(X: Any, stretch: Any) -> Expected:
    """The form of the images: 8 bits in three bands; floats in any bands where a stretch is given."""
    form: dict[str, Any] = {"side": 8, "pixel_scale": None, "interpolation": "bicubic"}
    if stretch is None:
        return Expected(bands=RGB, dtype="uint8", mean=(0,) * 3, std=(1,) * 3, **form)
    given = read_given(X, None)
    if not len(given.images):
        raise DataError("X holds no images")
    count = _pixels(given.images[0], given.title(0)).shape[-1]
    return Expected(bands=tuple(map(str, range(count))), dtype="float32", mean=(0,) * count, std=(1,) * count, **form)


def stack_of(X: Any, expected: Expected) -> np.ndarray:
    """Images as an array [object, y, x, band]; raises `DataError` for a table, which could be one grey image, too."""
    if isinstance(X, np.ndarray | torch.Tensor) and X.ndim == 2:
        raise DataError(
            f"X has the shape {tuple(X.shape)}, a table: give images [object, y, x, band], or a list of files"
        )
    given = read_given(X, expected)
    if not len(found := given.images):
        raise DataError("X holds no images")
    images = found if isinstance(found, np.ndarray) else [_pixels(each, given.title(i)) for i, each in enumerate(found)]
    shapes = sorted({each.shape for each in images})
    if len(shapes) > 1:
        raise DataError(f"the images have {len(shapes)} shapes, such as {shapes[0]} and {shapes[1]}")
    if shapes[0][-1] != len(expected.bands):
        raise DataError(
            f"the images have {shapes[0][-1]} bands, and {len(expected.bands)} are wanted: {', '.join(expected.bands)}"
        )
    stack = np.asarray(images) if isinstance(images, np.ndarray) else np.stack(images)
    if expected.dtype == "uint8" and stack.dtype != np.uint8:
        raise DataError(f"the images hold {stack.dtype}: give 8 bits, or say with stretch how bright floats are")
    return stack


def _pixels(image: Any, title: str) -> np.ndarray:
    """One image, decoded if need be."""
    if isinstance(image, np.ndarray):
        return image
    if image is None:
        raise DataError(f"{title} is None: each row of X should be an image")
    return decoded(image, title)


def labels_of(y: Any, images: int) -> np.ndarray:
    """The label of each image; of two classes or more, each with two images or more."""
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != images:
        raise DataError(f"y has the shape {labels.shape}, and there are {images} images: give one label for each")
    plain = labels.tolist()
    if (missing := _missing(y, labels)) is not None:
        raise DataError(f"image {missing[0]} has no label ({missing[1]}): give one for each image")
    try:
        np.unique(labels)
    except TypeError:
        kinds = " and ".join(sorted({type(each).__name__ for each in plain}))
        raise DataError(f"y holds labels of the types {kinds}: give labels of one type") from None
    counts = Counter(plain)
    if len(counts) < 2:
        raise DataError(f"y has {len(counts)} class ({', '.join(map(str, counts))}); there must be two or more")
    if rare := [str(name) for name, number in counts.items() if number < 2]:
        raise DataError(f"the class {rare[0]} has one image; two are needed: one to learn from, one to choose by")
    return labels


def _missing(given: Any, values: np.ndarray) -> tuple[int, str] | None:
    """The first of the given values that says nothing (masked, None, NaN or empty text) and what it is; or None."""
    mask = getattr(given, "mask", False) if isinstance(given, np.ndarray) else False
    hidden = np.broadcast_to(np.asarray(mask, bool), values.shape)
    raw = given if isinstance(given, list | tuple) else values.tolist()  # numpy makes text of what is masked in a list
    for row, (each, gone) in enumerate(zip(raw, hidden, strict=True)):
        if gone or each is np.ma.masked:
            return row, "masked"
        if is_absent(each):
            return row, str(each)
        if isinstance(each, str | bytes) and not each.strip():
            return row, repr(str(each) if isinstance(each, str) else each)
    return None


def divided(
    targets: np.ndarray, groups: Any, validation: float, seed: int, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of training and of validation; no group is divided between them."""
    if not isinstance(validation, Real) or not 0 < validation < 1:
        raise SpecError(
            f"SkythawClassifier: validation {validation!r} is no share of the images: give 0.2, for example"
        )
    rows = np.arange(len(targets))
    if groups is not None:
        return _by_groups(rows, targets, groups, validation, seed, classes)
    share = max(math.ceil(validation * len(rows)), len(classes))
    if len(rows) - share < len(classes):
        raise SpecError(
            f"SkythawClassifier: validation {validation!r} leaves {len(rows) - share} of {len(rows)} images to learn "
            f"from, and there are {len(classes)} classes: give a smaller share, or more images"
        )
    train, chosen_by = train_test_split(rows, test_size=share, stratify=targets, random_state=seed)
    return np.sort(train), np.sort(chosen_by)


def _by_groups(
    rows: np.ndarray, targets: np.ndarray, given: Any, validation: float, seed: int, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    groups = np.asarray(given)
    if groups.shape != rows.shape:
        raise DataError(
            f"groups has the shape {groups.shape}, and there are {len(rows)} images: give the group of each image"
        )
    if (missing := _missing(given, groups)) is not None:
        raise DataError(f"image {missing[0]} has no group ({missing[1]}): give one for each image")
    try:
        count = len(np.unique(groups))
    except TypeError:
        raise DataError("groups holds values of several types: give values of one type") from None
    kept = math.ceil(validation * count)
    if not 0 < kept < count:
        raise DataError(
            f"groups has {count} group{'s' * (count > 1)}, of which validation {validation!r} takes {kept}: "
            "some must be left to learn from, and some to choose by"
        )
    divide = GroupShuffleSplit(1, test_size=validation, random_state=seed)
    train, chosen_by = next(iter(divide.split(rows, targets, groups)))
    if absent := sorted(set(range(len(classes))) - set(targets[train].tolist())):
        raise DataError(
            f"the class {classes[absent[0]]} has no image to learn from: all are in groups that validation takes; give "
            "groups that hold several classes, more groups, or another seed"
        )
    return train, chosen_by


def whole(name: str, value: Any, least: int) -> int:
    """A setting that is a whole number, of numpy or of Python; raises `SpecError` for what is none."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= LARGEST:
        raise SpecError(f"SkythawClassifier: {name} {value!r} should be a whole number from {least} to {LARGEST}")
    return int(value)


def plain(value: Any) -> Any:
    """A number of numpy as one of Python, such as `GridSearchCV` tries them."""
    return value.item() if isinstance(value, np.generic) else value
