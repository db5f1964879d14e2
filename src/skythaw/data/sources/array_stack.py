"""Which arrays of a file are images, labels, parts (train, test) and columns: the same for HDF5 and NumPy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from skythaw.data.part_names import PART_COLUMNS, USUAL, part_and_rest
from skythaw.data.sources.array_images import PixelStack
from skythaw.data.sources.array_labels import LABEL_ARRAYS, label_arrays, short_name
from skythaw.data.sources.column_names import some_names
from skythaw.errors import DataError

IMAGE_NAMES = (
    *("images", "image", "image_flux", "image_array", "image/flux", "image.flux", "flux", "x", "data", "cutouts"),
    *("img", "imgs", "stamps", "pixels", "arr_0"),
)
CLASS_NAMES = ("class_names", "label_names", "classes", "names")
MOST_CLASSES = 1000
"""columns, at most, of an array with one for each class"""
COLOURS = (3, 4)
"""bands of a picture; an array of three axes whose last one is so short is one image"""


class FileArray(Protocol):
    """An array in a file, whose values are still to be read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def rows(self) -> Iterable[np.ndarray]:
        """One image after another."""

    def read(self) -> dict[str, Sequence[Any]]:
        """The values by the names of its columns, "" where it has one; empty if they are neither numbers nor texts."""


Arrays = Mapping[str, FileArray]


def stack_of(
    path: Path, arrays: Arrays, bands: Sequence[str] | None = None, used: Collection[str] = (), bottom_up: bool = False
) -> PixelStack:
    """The images of a file, with the arrays of one value for each of them.

    Parameters
    ----------
    path
        the file, for messages
    arrays
        all arrays in it, by name
    bands
        names of the bands
    used
        arrays that were read already
    bottom_up
        whether the first row of an image is its lowest one

    Raises
    ------
    DataError
        There is no array of images, or one image alone, or labels for another number of images.
    """
    rest = {name: array for name, array in arrays.items() if name not in used}
    groups = _groups(path, rest)
    images = [rest[group[0]].rows() for group in groups.values()]
    read, found = set[str](), list[tuple[int, dict[str, Sequence[Any]]]]()
    for group in groups.values():
        found.append(_columns(path, rest, group, read))
    columns: dict[str, Sequence[Any]] = {}
    for name in dict.fromkeys(chain.from_iterable(part for _, part in found)):
        columns[name] = [value for count, part in found for value in part.get(name, [None] * count)]
    notes = []
    if len(groups) > 1:
        each = [part for part, (count, _) in zip(groups, found, strict=True) for _ in range(count)]
        columns.setdefault(PART_COLUMNS[0], each)
        notes.append(
            f"the arrays {', '.join(group[0] for group in groups.values())} are parts of the data: they are kept in "
            "the column 'part', and a study uses them with split = { by = \"part\" }"
        )
    lower = {name.lower(): name for name in rest if name not in read and len(rest[name].shape) == 1}
    classes = next((lower[name] for name in CLASS_NAMES if name in lower), None)
    names = None if classes is None else rest[classes].read().get("")
    return PixelStack(
        path,
        sum(count for count, _ in found),
        chain.from_iterable(images),
        columns,
        names,
        bands,
        bottom_up=bottom_up,
        unread=[f"{n} {array.shape}" for n, array in rest.items() if n not in read and not (n == classes and names)],
        notes=notes,
    )


Group = tuple[str, dict[str, str]]
"""the name of an array of images; and of the arrays that may belong to them, by what they are called in their part"""


def _groups(path: Path, arrays: Arrays) -> dict[str, Group]:
    """The arrays of images, by their part: one, or one for each of train, validation and test."""
    images_like = [name for name, array in arrays.items() if len(array.shape) >= 3 and array.dtype.kind in "buif"]
    large = {name.lower(): name for name in images_like}
    split = {name: part_and_rest(name.replace("/", "_")) for name in arrays}
    images = next((large[name] for name in IMAGE_NAMES if name in large), None)
    parts = {} if images else _parts(path, large.values(), split)
    if images is None and not parts and len(large) == 1:
        images = next(iter(large.values()))
    if images is not None:
        return {"": (images, {name: name for name in arrays})}
    if not parts:
        shown = ", ".join(f"{name} {array.shape}" for name, array in list(arrays.items())[:10]) or "nothing"
        raise DataError(f"{path} has no array of images called images, image or x; it holds {shown}")
    groups: dict[str, Group] = {}
    for part, images in parts.items():
        own = {found[1]: name for name, found in split.items() if found and found[0] == part}
        others = {name: name for name, found in split.items() if found is None} if len(parts) == 1 else {}
        groups[part] = images, own | others
    return groups


def _parts(path: Path, large: Iterable[str], split: Mapping[str, tuple[str, str] | None]) -> dict[str, str]:
    """The array of images of each part; empty if none is called like a part."""
    called: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in large:
        if found := split[name]:
            called[found[1].lower()][found[0]].append(name)
    rest = next((name for name in IMAGE_NAMES if name in called), next(iter(called)) if len(called) == 1 else None)
    if rest is None:
        return {}
    if twice := next((names for names in called[rest].values() if len(names) > 1), None):
        raise DataError(f"{path} has several arrays of images of one part: {some_names(twice)}; make them one array")
    return {part: called[rest][part][0] for part in USUAL if part in called[rest]}


def _columns(path: Path, arrays: Arrays, group: Group, read: set[str]) -> tuple[int, dict[str, Sequence[Any]]]:
    """The number of images, and the values for each of them, by name; adds the arrays that are taken to `read`."""
    images, names = group
    shape = arrays[images].shape
    refuse_one_image(path, images, shape)
    read.add(images)
    columns: dict[str, Sequence[Any]] = {}
    others = {name: full for name, full in names.items() if full != images}
    for name, full in others.items():
        array = arrays[full]
        if not _fits(name, array, shape[0]):
            continue
        for column, values in array.read().items():
            columns[f"{name}/{column}" if column else name] = values
            read.add(full)
    _refuse_other_length(path, {name: arrays[full] for name, full in others.items()}, columns, images, shape[0])
    return shape[0], columns


def refuse_one_image(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Raise `DataError` if an array of three axes is [y, x, band]: the last one is 3 or 4, the others are larger."""
    if len(shape) == 3 and shape[2] in COLOURS and min(shape[:2]) > max(COLOURS):
        raise DataError(
            f"{path}: {name!r} of shape {shape} is one image; [image, y, x, band] is needed, which would be "
            f"{(1, *shape)}"
        )


def _fits(name: str, array: FileArray, count: int) -> bool:
    """Whether an array may hold one value for each image: of labels, one for each class as well."""
    if len(array.shape) == 2 and short_name(name) in LABEL_ARRAYS:
        width = array.shape[1]
        return array.shape[0] == count and (width == 1 or (array.dtype.kind in "buif" and width <= MOST_CLASSES))
    return array.shape == (count,)


def _refuse_other_length(path: Path, arrays: Arrays, columns: Collection[str], images: str, count: int) -> None:
    """Labels of which there are fewer or more than images, unless other labels fit."""
    if label_arrays(columns):
        return
    short = [name for name in label_arrays(arrays) if name not in CLASS_NAMES and len(arrays[name].shape) in (1, 2)]
    for name in short:
        if arrays[name].shape[0] != count:
            raise DataError(f"{path}: {name!r} has {arrays[name].shape[0]} values for {count} images in {images!r}")
