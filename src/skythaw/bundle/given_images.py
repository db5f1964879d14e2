"""The images that a user gives in Python, each with an id: in files, folders, arrays, tensors and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skythaw.bundle.bundle_file import Expected
from skythaw.bundle.given_arrays import as_stack, one_array, scale_of
from skythaw.data.cutouts import read_cutouts
from skythaw.data.sources.column_names import FILE_NAMES, ID_NAMES, column_of
from skythaw.data.sources.image_files import find_images, plain_stem
from skythaw.errors import DataError

PARQUET = (".parquet", ".pq")
HOLDS = {"bytes", "path"}
"""the keys of an image as Hugging Face `datasets` has it"""
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""how an address begins, of which pathlib leaves one stroke"""
Image = bytes | str | Path | np.ndarray | None


@dataclass(frozen=True)
class GivenImages:
    """Images in the order in which they were given."""

    images: np.ndarray | list[Image]
    """a stack [object, y, x, band], or one by one; None is an object without an image"""
    ids: tuple[str, ...]
    """of each: its object_id, index or name of file where there is one, else its number"""
    table: Any = None
    """the table in which they were, which may hold numbers, too"""
    first: int = 0
    """number of the first, of a part of them"""

    def title(self, row: int) -> str:
        """What a message calls an image: its number among all, and its id where that is another."""
        number = str(self.first + row)
        known = self.ids[row] if row < len(self.ids) else number
        return f"image {number}" + (f" ({known})" if known != number else "")

    def part(self, start: int, stop: int) -> GivenImages:
        """Some of them, without the table."""
        return GivenImages(self.images[start:stop], self.ids[start:stop], first=self.first + start)

    def numbers(self, columns: Sequence[str]) -> Any:
        """The table, from which these numbers are taken; None where there is none, or it holds none of them."""
        return self.table if {*columns} & {*(_columns(self.table) or ())} else None


def read_given(given: Any, expected: Expected | None) -> GivenImages:
    """Images as `Classifier.predict` takes them.

    Parameters
    ----------
    given
        see `skythaw.bundle.classifier.Classifier.predict`
    expected
        of an image: which form it should have; None takes floats in any number of bands

    Raises
    ------
    DataError
        It holds no images, or arrays of another form: the message says what is right.
    """
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given.item()
    if isinstance(given, str | Path):
        return _of_path(Path(_named(given, "images")))
    if isinstance(getattr(given, "index", None), int):  # a row of a table of astropy
        given = given.table[given.index : given.index + 1]
    if (names := _columns(given)) is not None:
        return _of_table(given, names, expected)
    if not isinstance(given, Sequence) and (stack := one_array(given)) is not None and stack.dtype.kind not in "OUS":
        found = as_stack(stack, expected, first=not isinstance(given, np.ndarray))
        return GivenImages(found, tuple(map(str, range(len(found)))))
    if _is_one(given):
        return GivenImages(_images([given], expected), ("0",))
    if hasattr(given, "read"):
        raise DataError(f"{type(given).__name__} is an open file: give its name, or its content, which .read() gives")
    if not isinstance(given, Iterable):
        raise DataError(
            f"{type(given).__name__} holds no images; give a file, a folder, a list of files, an array [object, y, x, "
            "band], a tensor, a PIL image, or a table with a column of images"
        )
    return _of_several(given, expected)


def _of_path(path: Path) -> GivenImages:
    """One file, the images of a folder, or those of a Parquet file."""
    if path.suffix.lower() in PARQUET:
        cutouts = read_cutouts(path, need_labels=False)
        images: list[Image] = [data or None for _, data, _ in cutouts.images()]
        return GivenImages(images, tuple(cutouts.object_ids), cutouts.table)
    if not path.is_dir():
        return GivenImages([path], (_stem(path),))
    found = find_images(str(path))
    if not found.images:
        some = "; ".join(f"{name}: {why}" for name, why in list(found.left_out.items())[:3])
        raise DataError(f"the folder {path} holds no images" + (f" ({some})" if some else ""))
    return GivenImages([path / name for name in found.images], _different([Path(each) for each in found.images]))


def _of_table(table: Any, names: list[str], expected: Expected | None) -> GivenImages:
    """The images in a column of a table of pandas, astropy or Arrow, or of a dictionary of columns."""
    at = column_of(names, ("image", *FILE_NAMES))
    if at is None:
        raise DataError(
            f"the table has no column of images: it should be called image or file; its columns are {', '.join(names)}"
        )
    if isinstance(column := table[names[at]], str | bytes | Path):
        raise DataError(f"the column {names[at]} is one value: give a table with one row for each image")
    given = _of_several(_values(column), expected, table)
    id_at = column_of(names, ID_NAMES)
    if id_at is not None:
        return GivenImages(given.images, tuple(map(str, _values(table[names[id_at]]))), table)
    return GivenImages(given.images, given.ids, table)


def _of_several(given: Iterable[Any], expected: Expected | None, table: Any = None) -> GivenImages:
    """Images one by one, which may be a column of a table."""
    images = _images(_values(given), expected)
    index: Any = getattr(given if table is None else table, "index", None)
    index = None if callable(index) else index  # else it is that of pandas
    if index is not None and type(index).__name__ != "RangeIndex":
        ids = tuple(map(str, index))
    elif all(isinstance(each, str | Path) for each in images):
        ids = _different([Path(str(each)) for each in images])
    else:
        ids = tuple(map(str, range(len(images)) if index is None else index))
    return GivenImages(images, ids)


def _images(given: list[Any], expected: Expected | None) -> list[Image]:
    """Images one by one, pixels [y, x, band] in the values of training: whether 1 or 255 is white, all say together."""
    images = [_image(each, i) for i, each in enumerate(given)]
    scale = scale_of(each for each in images if isinstance(each, np.ndarray))
    for i, image in enumerate(images):
        if isinstance(image, np.ndarray):
            first = not isinstance(given[i], np.ndarray)
            images[i] = np.asarray(as_stack(image, expected, first=first, number=i, scale=scale)[0])
    return images


def _image(given: Any, number: int) -> Image:
    """One image as it was given: a name or the content of a file, pixels, or None where there is none."""
    if is_absent(given):
        return None
    if isinstance(given, dict) and given.keys() <= HOLDS:
        given = given.get("bytes") or given.get("path")
    if given is None or isinstance(given, bytes):
        return given
    if isinstance(given, str | Path):
        return _named(given, f"image {number}")
    array = one_array(given)
    if array is None or array.dtype.kind in "OUS":
        raise DataError(
            f"image {number}: {type(given).__name__} is no image: give a file, its content, an array, or a PIL image"
        )
    return array


def _named(name: str | Path, what: str) -> str | Path:
    """The name of a file or folder; raises `DataError` where it is empty, or an address."""
    if not str(name).strip():
        raise DataError(f"{what}: the name {str(name)!r} is empty: give the name of a file")
    if ADDRESS.match(str(name)) and not Path(name).exists():
        raise DataError(f"{what}: {name} is an address: it must be a file, so download it first")
    return name if isinstance(name, Path) else str(name)


def is_absent(given: Any) -> bool:
    """Whether it says that there is no image, as pandas and astropy do in a column."""
    return (
        given is None
        or given is np.ma.masked
        or (isinstance(given, float | np.floating) and np.isnan(given))
        or type(given).__name__ == "NAType"
    )


def _is_one(given: Any) -> bool:
    return isinstance(given, bytes) or hasattr(given, "getbands") or (isinstance(given, dict) and given.keys() <= HOLDS)


def _columns(given: Any) -> list[str] | None:
    """The names of the columns of a table; None of what is no table."""
    if isinstance(given, dict):
        return None if given.keys() <= HOLDS else [str(name) for name in given]
    for kind in ("colnames", "column_names", "columns"):
        if (names := getattr(given, kind, None)) is not None:
            return [str(name) for name in names]
    return None


def _values(column: Any) -> list[Any]:
    return list(column.to_pylist() if hasattr(column, "to_pylist") else column)


def _stem(path: Path) -> str:
    return plain_stem(path.name) or str(path)


def _different(paths: Sequence[Path]) -> tuple[str, ...]:
    """Names of files without ending; their paths where two would be alike."""
    short = [_stem(path) for path in paths]
    return tuple(short if len(set(short)) == len(short) else [path.as_posix() for path in paths])
