"""Cutouts from arrays in HDF5 files, such as Galaxy10 (`images`, `ans`) and those of the Multimodal Universe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skythaw.data.sources.array_images import PixelStack, import_stack
from skythaw.data.sources.array_stack import stack_of
from skythaw.data.sources.folder import ImportResult, Progress
from skythaw.data.sources.set_choices import SetChoices
from skythaw.errors import DataError, SkythawError

BAND_NAMES = ("image_band", "image/band", "image.band", "band", "bands")
BLOCK = 64 << 20
"""bytes of images that are read at once"""
LARGEST_CHUNK = 256 << 20
LARGEST_COLUMN = 1 << 30
GROWN, PACKED = 256 << 20, 200
"""An array of more than so many bytes, that takes less than this part of them in the file, is refused."""
MOST_ARRAYS = 1000


def import_hdf5(
    path: Path,
    out: Path,
    labels: Any = None,
    *,
    skip_broken: bool = False,
    choices: SetChoices = SetChoices(),  # noqa: B008 - frozen
    progress: Progress | None = None,
    **options: Any,
) -> ImportResult:
    """Write the images of an HDF5 file as cutouts; arrays of one value for each image become columns.

    Raises
    ------
    DataError
        It is damaged, or holds no array of images; or an array is larger than what the file holds, or lies in another
        file.
    """
    refuse_options(path, labels, choices, options)
    try:
        import h5py
    except ImportError:
        raise DataError(f"{path} is an HDF5 file; to read it: pip install 'skythaw[arrays]'") from None
    try:
        with h5py.File(path, "r") as file:
            return import_stack(
                _stack(Path(path), file), out, skip_broken=skip_broken, choices=choices, progress=progress
            )
    except SkythawError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise DataError(f"can't read {path} as HDF5: {' '.join(str(error).split())[:200]}") from None


def refuse_options(path: Path, labels: Any, choices: SetChoices, options: dict[str, Any]) -> None:
    """Raise `DataError` for what only folders of images take."""
    if labels is not None:
        raise DataError(f"{path} holds arrays with their labels beside them; --labels is for folders and .npy files")
    if choices.drop_conflicts or choices.level is not None:
        raise DataError(f"{path} holds arrays of pixels; --drop-conflicts and --level are for files of images")
    if given := [name for value in options.values() if value for name in value.recipe]:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise DataError(f"{path} holds arrays of pixels; {shown} is for files of images")


def _stack(path: Path, file: Any) -> PixelStack:
    arrays = _arrays(file)
    lower = {name.lower(): name for name in arrays}
    bands = next((lower[name] for name in BAND_NAMES if name in lower and arrays[lower[name]].ndim < 3), None)
    return stack_of(
        path,
        {name: _Dataset(path, name, array) for name, array in arrays.items()},
        None if bands is None else _band_names(path, bands, arrays[bands]),
        () if bands is None else (bands,),
        bottom_up=bands is not None,
    )


class _Dataset:
    """An array in an HDF5 file."""

    def __init__(self, path: Path, name: str, array: Any) -> None:
        self._path, self._name, self._array = path, name, array
        self.shape, self.dtype = array.shape, array.dtype

    def rows(self) -> Iterator[np.ndarray]:
        """One image after another."""
        _refuse_hostile(self._path, self._name, self._array)
        return _rows(self._array)

    def read(self) -> dict[str, Sequence[Any]]:
        """The values by the names of its columns, "" where it has one; empty if they are neither numbers nor texts."""
        if self.dtype.names and (read := [name for name in self.dtype.names if _is_plain(self.dtype[name])]):
            _refuse_hostile(self._path, self._name, self._array, LARGEST_COLUMN)
            table = self._array[:]
            return {name: table[name].tolist() for name in read}
        values = _values(self._path, self._name, self._array)
        return {} if values is None else {"": values}


def _arrays(file: Any) -> dict[str, Any]:
    """All arrays that lie in the file itself, by name; links are not followed."""
    import h5py

    found: dict[str, Any] = {}

    def look(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset) and item.shape:
            found[name] = item
        return True if len(found) >= MOST_ARRAYS else None

    file.visititems(look)
    return found


def _refuse_hostile(path: Path, name: str, array: Any, largest: int | None = None) -> None:
    if array.external or array.is_virtual:
        raise DataError(f"{path}: the values of {name!r} lie in another file, which is not read")
    stored = max(array.id.get_storage_size(), 1)
    size = array.size * array.dtype.itemsize
    if not size:
        raise DataError(f"{path}: {name!r} of shape {array.shape} is empty")
    if size > GROWN and size > PACKED * stored:
        raise DataError(f"{path}: {name!r} announces {size} bytes, and {stored} are there")
    chunk = int(np.prod(array.chunks or (1,), dtype=float)) * array.dtype.itemsize
    row = int(np.prod(array.shape[1:], dtype=float)) * array.dtype.itemsize
    if max(chunk, row) > LARGEST_CHUNK or (largest is not None and size > largest):
        raise DataError(f"{path}: {name!r} of shape {array.shape} is too large to be read")


def _rows(array: Any) -> Iterator[np.ndarray]:
    size = int(np.prod(array.shape[1:])) * array.dtype.itemsize
    step = max(1, BLOCK // max(size, 1))
    for start in range(0, array.shape[0], step):
        yield from array[start : start + step]


def _values(path: Path, name: str, array: Any) -> list[Any] | None:
    """The values of a column; None if they are neither numbers nor texts."""
    if not _is_plain(array.dtype):
        return None
    _refuse_hostile(path, name, array, LARGEST_COLUMN)
    return array[:].tolist()


def _is_plain(dtype: Any) -> bool:
    """Whether values are numbers or texts, one each."""
    import h5py

    return dtype.kind in "buifS" or h5py.check_string_dtype(dtype) is not None


def _band_names(path: Path, name: str, array: Any) -> list[str] | None:
    values = _values(path, name, array[:1] if array.ndim == 0 else array)
    if values and isinstance(values[0], list):
        values = values[0]
    return None if values is None else [v.decode() if isinstance(v, bytes) else str(v) for v in values]
