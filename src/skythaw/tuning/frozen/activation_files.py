"""Frozen activations, kept: what crosses one cut, for the objects of one data set in each of the eight views.

A folder holds ``about.json`` (shapes and precision), one file of values a crossing tensor, ``checks``, a CRC-32 of the
values of each view and object, and ``present``, a byte for each. Values are compared with their checksum when a process
reads them for the first time; damaged ones count as absent, so they are computed again. The files have room for every
object and view but are sparse: what was not written takes no space. A value is marked present after it is on the disk,
so a kill at any moment loses work, never truth. Two processes that write the same value write the same bytes, because a
value depends on nothing but its image, view and network.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skythaw.data.network_input import release

VIEWS = 8
Shapes = tuple[tuple[int, ...], ...]


def as_kept(value: Tensor) -> Tensor:
    """One object's values in the order in which they are kept: maps with their bands last."""
    return value.permute(0, 2, 3, 1) if value.ndim == 4 else value


def as_used(value: Tensor) -> Tensor:
    """The inverse of `as_kept`: maps are channels-last in memory."""
    return value.permute(0, 3, 1, 2) if value.ndim == 4 else value


def merged(missing: tuple[Tensor, ...], there: tuple[Tensor, ...], absent: np.ndarray) -> tuple[Tensor, ...]:
    """Values of one batch from those that were missing and those that were there; `absent` is bool [batch]."""
    return tuple(_merge(a, b, torch.from_numpy(absent)) for a, b in zip(missing, there, strict=True))


def rounded(value: Tensor, dtype: torch.dtype) -> Tensor:
    """The value as it comes back from where it is kept, float32."""
    return value if dtype == torch.float32 else value.to(dtype).float()


@dataclass(frozen=True)
class Activations:
    """The values of one folder, open for reading; `Writer` fills it."""

    folder: Path
    shapes: Shapes
    """of one object's values, as they are kept"""
    arrays: tuple[np.memmap, ...]
    """for each crossing tensor, float16 or float32 [view x object, value]"""
    present: np.memmap
    """uint8 [view x object]"""
    checks: np.memmap
    """uint32 [view x object]"""
    verified: np.ndarray
    """bool [view x object]: what this process has compared with its checksum, and found whole"""

    @property
    def objects(self) -> int:
        return len(self.present) // VIEWS

    def absent(self, views: np.ndarray, rows: np.ndarray, *, verify: bool = True) -> np.ndarray:
        """Which of these are not there, or, with `verify`, are damaged: bool [batch]."""
        places = views * self.objects + rows
        there = np.asarray(self.present[places]) != 0
        if not verify:
            return ~there
        for place in places[there & ~self.verified[places]].tolist():
            self.verified[place] = _crc32(array[place] for array in self.arrays) == self.checks[place]
        return ~(there & self.verified[places])

    def read(self, views: np.ndarray, rows: np.ndarray, device: torch.device) -> tuple[Tensor, ...]:
        """Values of objects, each in its view, float32 [batch, ...]; all must be present."""
        places = views * self.objects + rows
        found = []
        for shape, array in zip(self.shapes, self.arrays, strict=True):
            value = torch.from_numpy(array[places]).to(device).float()
            found.append(as_used(value.reshape(len(places), *shape)))
            release(array)
        return tuple(found)


def find(folder: Path, objects: int) -> Activations | None:
    """The activations in a folder, or None if they are not there, or damaged."""
    try:
        about = json.loads((folder / "about.json").read_bytes())
        shapes: Shapes = tuple(tuple(int(n) for n in shape) for shape in about["shapes"])
        dtype = np.dtype(about["dtype"])
        places = VIEWS * objects
        present = np.memmap(folder / "present", np.uint8, "r", shape=(places,))
        checks = np.memmap(folder / "checks", "<u4", "r", shape=(places,))
        arrays = []
        for number, shape in enumerate(shapes):
            file = folder / f"values-{number}"
            if file.stat().st_size != places * prod(shape) * dtype.itemsize:
                return None
            arrays.append(np.memmap(file, dtype, "r", shape=(places, prod(shape))))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Activations(folder, shapes, tuple(arrays), present, checks, np.zeros(places, dtype=bool))


def create(folder: Path, objects: int, shapes: Shapes, dtype: torch.dtype) -> Activations:
    """The activations in a folder, made empty if they are not there.

    Raises
    ------
    OSError
        The folder can't be made.
    """
    if found := find(folder, objects):
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    kind = np.dtype(str(dtype).removeprefix("torch."))
    made = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        for number, shape in enumerate(shapes):
            _room(made / f"values-{number}", VIEWS * objects * prod(shape) * kind.itemsize)
        _room(made / "present", VIEWS * objects)
        _room(made / "checks", VIEWS * objects * 4)
        (made / "about.json").write_text(json.dumps({"shapes": shapes, "dtype": kind.name}))
        try:
            made.rename(folder)
        except OSError:
            if not find(folder, objects):  # not another process that was faster: damaged
                shutil.rmtree(folder, ignore_errors=True)
                made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    if found := find(folder, objects):
        return found
    raise OSError(f"{folder} could not be made")


class Writer:
    """Puts values into a folder of `Activations`, as a context; what was put counts as present after `commit`."""

    def __init__(self, kept: Activations) -> None:
        self.kept = kept
        self._files = [(kept.folder / f"values-{n}").open("r+b", buffering=0) for n in range(len(kept.shapes))]
        self._put: list[tuple[int, int]] = []
        """places, and checksums"""

    def put(self, views: np.ndarray, rows: np.ndarray, values: tuple[Tensor, ...]) -> None:
        """Write values; a full disk raises OSError (a write through the memory map would kill the process)."""
        places = views * self.kept.objects + rows
        checks = [0] * len(places)
        for file, array, value in zip(self._files, self.kept.arrays, values, strict=True):
            whole = as_kept(value).reshape(len(places), -1).cpu().numpy().astype(array.dtype)
            for number, (place, one) in enumerate(zip(places.tolist(), whole, strict=True)):
                file.seek(place * one.nbytes)
                file.write(one.tobytes())
                checks[number] = zlib.crc32(one.tobytes(), checks[number])
        self._put += zip(places.tolist(), checks, strict=True)

    def commit(self) -> None:
        """Sync what was put, then mark it present."""
        for file in self._files:
            os.fsync(file.fileno())
        with (self.kept.folder / "checks").open("r+b", buffering=0) as checks:
            for place, check in self._put:
                checks.seek(4 * place)
                checks.write(check.to_bytes(4, "little"))
            os.fsync(checks.fileno())
        with (self.kept.folder / "present").open("r+b", buffering=0) as marks:
            for place, _ in self._put:
                marks.seek(place)
                marks.write(b"\x01")
            os.fsync(marks.fileno())
        self._put = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()


def _merge(missing: Tensor, there: Tensor, absent: Tensor) -> Tensor:
    whole = as_kept(missing).new_empty((len(absent), *as_kept(missing).shape[1:]))
    absent = absent.to(whole.device)
    whole[absent], whole[~absent] = as_kept(missing), as_kept(there)
    return as_used(whole)


def _crc32(values: Iterable[np.ndarray]) -> int:
    check = 0
    for each in values:
        check = zlib.crc32(each.tobytes(), check)
    return check


def _room(file: Path, size: int) -> None:
    with file.open("wb") as opened:
        opened.truncate(size)
