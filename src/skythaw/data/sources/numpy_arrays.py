"""Cutouts from arrays in NumPy files: .npz with images and labels, or .npy with a file of labels."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from skythaw.data.sources.array_images import PixelStack, import_stack
from skythaw.data.sources.array_stack import refuse_one_image, stack_of
from skythaw.data.sources.folder import ImportResult, Progress
from skythaw.data.sources.hdf5_arrays import refuse_options
from skythaw.data.sources.label_table import LabelSettings
from skythaw.data.sources.set_choices import SetChoices
from skythaw.data.sources.table_sheet import open_sheet
from skythaw.errors import DataError, SkythawError

LARGEST_ROW = 256 << 20
LARGEST_COLUMN = 1 << 30
GROWN, PACKED = 256 << 20, 200
"""A compressed array of more than so many bytes, that takes less than this part of them in the file, is refused."""
PLAIN = "buifSU"
"""kinds of numbers and texts"""
NPY = b"\x93NUMPY"


def import_numpy(
    path: Path,
    out: Path,
    labels: Any = None,
    *,
    skip_broken: bool = False,
    choices: SetChoices = SetChoices(),  # noqa: B008 - frozen
    progress: Progress | None = None,
    **options: Any,
) -> ImportResult:
    """Write the images of a .npz or .npy file as cutouts.

    The labels of a .npy file are in another one, or in a table with as many rows, in the same order. Arrays are read
    image by image; arrays of Python objects, which are pickles, are refused.

    Raises
    ------
    DataError
        It is damaged, holds no array of images, or one of Python objects; lengths differ; or an array is larger than
        what the file holds.
    """
    path = Path(path)
    try:
        with ExitStack() as opened:
            is_npy = opened.enter_context(path.open("rb")).read(6) == NPY
            refuse_options(path, None if is_npy else labels, choices, options)
            stack = _single(path, labels, opened, choices.unlabelled) if is_npy else _archive(path, opened)
            return import_stack(stack, out, skip_broken=skip_broken, choices=choices, progress=progress)
    except SkythawError:
        raise
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile, SyntaxError, RuntimeError) as error:
        raise DataError(f"can't read {path} as NumPy arrays: {' '.join(str(error).split())[:200]}") from None


class _Array:
    """An array in a stream: its shape and type are known, its values are still to be read, in order."""

    def __init__(self, name: str, stream: BinaryIO, held: int | None) -> None:
        self.name, self._stream = name, stream
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        try:
            self.shape, self._fortran, self.dtype = read(stream)
        except (ValueError, SyntaxError, TypeError):
            raise ValueError(f"{name!r} has a damaged header") from None
        if self.dtype.hasobject:
            raise ValueError(f"{name!r} holds Python objects, which are pickles and never opened; save plain numbers")
        self.size = int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize
        if self.size <= 0:
            raise ValueError(f"{name!r} of shape {self.shape} is empty")
        if held is not None and self.size > max(GROWN, PACKED * held):
            raise ValueError(f"{name!r} announces {self.size} bytes, and {held} are there")

    def values(self) -> np.ndarray:
        """All values of a small array."""
        if self.size > LARGEST_COLUMN:
            raise ValueError(f"{self.name!r} of shape {self.shape} is too large to be read")
        flat = np.frombuffer(self._read(self.size), self.dtype)
        return flat.reshape(self.shape, order="F" if self._fortran else "C")

    def read(self) -> dict[str, Sequence[Any]]:
        """The values by the names of its columns, "" where it has one; empty if they are neither numbers nor texts."""
        if self.dtype.names:
            read = [name for name in self.dtype.names if self.dtype[name].kind in PLAIN]
            table: Any = self.values() if read else None
            return {name: table[name].tolist() for name in read}
        return {"": self.values().tolist()} if self.dtype.kind in PLAIN else {}

    def rows(self) -> Iterator[np.ndarray]:
        """One image after another."""
        if self._fortran:
            yield from self.values()
            return
        size = self.size // max(self.shape[0], 1)
        if size > LARGEST_ROW:
            raise ValueError(f"{self.name!r} of shape {self.shape} has too large images")
        for _ in range(self.shape[0]):
            yield np.frombuffer(self._read(size), self.dtype).reshape(self.shape[1:])

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise ValueError(f"{self.name!r} is truncated")
        return data


def _archive(path: Path, opened: ExitStack) -> PixelStack:
    """The arrays of a .npz file."""
    archive = opened.enter_context(zipfile.ZipFile(path))
    arrays: dict[str, _Array] = {}
    for info in archive.infolist():
        stream = opened.enter_context(archive.open(info))
        name = info.filename.removesuffix(".npy")
        arrays[name] = _Array(name, stream, info.compress_size)  # type: ignore[arg-type]
    return stack_of(path, arrays)


def _single(path: Path, labels: Any, opened: ExitStack, unlabelled: bool) -> PixelStack:
    """The array of a .npy file, and its labels, which may be absent from what is to be predicted."""
    array = _Array(path.name, opened.enter_context(path.open("rb")), path.stat().st_size)
    if array.size > path.stat().st_size:
        raise ValueError(f"it is truncated: {array.size} bytes are announced, {path.stat().st_size} are there")
    if len(array.shape) < 3:
        raise DataError(
            f"{path} holds an array of shape {array.shape}; images are [image, y, x] or [image, y, x, band]"
        )
    refuse_one_image(path, path.name, array.shape)
    if labels is None and not unlabelled:
        raise DataError(
            f"{path} has images without labels; give them with --labels (.npy, or a table in the same order), or say "
            "--unlabelled if they are to be predicted"
        )
    if labels is None:
        return PixelStack(path, array.shape[0], array.rows())
    settings = labels if isinstance(labels, LabelSettings) else LabelSettings(Path(labels))
    columns = _labels_beside(settings)
    return PixelStack(path, array.shape[0], array.rows(), columns)


def _labels_beside(settings: LabelSettings) -> dict[str, Any]:
    with settings.path.open("rb") as file:
        if file.read(6) == NPY:
            file.seek(0)
            array = _Array(settings.path.name, file, settings.path.stat().st_size)
            return {"label": array.values().tolist()}
    sheet = open_sheet(settings.path)
    called = {name: kind for kind, name in settings.columns.items()}
    names = {number: called.get(name, name) for number, name in enumerate(sheet.header)}
    return {name: list(sheet.typed(number)[1]) for number, name in names.items() if name}
