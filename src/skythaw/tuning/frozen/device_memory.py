"""Pixels and kept activations in the memory of a device: the first level, above the files. For GPUs; never run on one.

On a CPU the system's page cache does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from skythaw.data.network_input import release
from skythaw.tuning.frozen.activation_files import VIEWS, Activations, as_used

SHARE, PIXELS = 0.5, 0.2
"""of the device's free memory that activations may use, and pixels: the rest is for training"""


class DeviceRows:
    """Rows of arrays, on a device: each is taken from the arrays at most once while there is room.

    Parameters
    ----------
    arrays
        of equally many rows, usually memory-mapped
    wanted
        how many of their rows will be asked for
    device
        where rows are held
    room
        bytes that may be used there; what comes when they are used up is copied every time
    """

    def __init__(self, arrays: Sequence[np.ndarray], wanted: int, device: torch.device, room: int) -> None:
        self._arrays, self._device = arrays, device
        each = sum(prod(array.shape[1:]) * array.dtype.itemsize for array in arrays)
        self._capacity = min(wanted, max(0, room) // max(each, 1))
        self.bytes = self._capacity * each
        """that it uses on the device at most"""
        self._values: list[Tensor] = []
        self._slots = np.full(len(arrays[0]), -1, dtype=np.int64)
        self._count = 0

    def read(self, places: np.ndarray) -> list[Tensor]:
        """Some rows of each array."""
        new = np.unique(places[self._slots[places] < 0])
        if len(new) and self._count < self._capacity:
            self._take(new[: self._capacity - self._count])
        absent = self._slots[places] < 0
        if absent.all():
            return [copied(array, places, self._device) for array in self._arrays]
        slots = torch.from_numpy(self._slots[places].clip(0)).to(self._device)
        found = [values[slots] for values in self._values]
        if absent.any():
            where = torch.from_numpy(np.flatnonzero(absent)).to(self._device)  # a mask would have to be waited for
            for values, array in zip(found, self._arrays, strict=True):
                values[where] = copied(array, places[absent], self._device)
        return found

    def _take(self, places: np.ndarray) -> None:
        """Hold some rows."""
        if not self._values:
            kinds = [getattr(torch, array.dtype.name) for array in self._arrays]
            shapes = [(self._capacity, *array.shape[1:]) for array in self._arrays]
            made = zip(shapes, kinds, strict=True)
            with torch.inference_mode(False):  # who scores may begin, and who trains go on
                self._values = [torch.empty(shape, dtype=kind, device=self._device) for shape, kind in made]
        slots = slice(self._count, self._count + len(places))
        for values, array in zip(self._values, self._arrays, strict=True):
            values[slots] = copied(array, places, self._device)
        self._slots[places] = np.arange(slots.start, slots.stop)
        self._count = slots.stop


class DeviceActivations:
    """Reads as `Activations` does, each value from the files at most once while there is room.

    Parameters
    ----------
    kept
        the files
    rows
        the objects that will be asked for
    device, room
        as of `DeviceRows`
    """

    def __init__(self, kept: Activations, rows: np.ndarray, device: torch.device, room: int) -> None:
        wanted = int(np.asarray(kept.present).reshape(VIEWS, kept.objects)[:, rows].sum())
        self._kept, self._held = kept, DeviceRows(kept.arrays, wanted, device, room)
        self.bytes = self._held.bytes

    def absent(self, views: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Which of these are not there: bool [batch]."""
        return self._kept.absent(views, rows)

    def read(self, views: np.ndarray, rows: np.ndarray, _: torch.device) -> tuple[Tensor, ...]:
        """Values of objects, each in its view, float32 [batch, ...]; all must be present."""
        found = self._held.read(views * self._kept.objects + rows)
        shapes = zip(found, self._kept.shapes, strict=True)
        return tuple(as_used(values.float().reshape(len(rows), *shape)) for values, shape in shapes)


def copied(array: np.ndarray, places: np.ndarray, device: torch.device) -> Tensor:
    """Some rows of an array, on a device."""
    rows = torch.from_numpy(array[places]).to(device)
    release(array)
    return rows


def room_on(device: torch.device, share: float) -> int:
    """Free bytes of a GPU that are for one cell; 0 on a CPU.

    Parameters
    ----------
    device
        where
    share
        of its free memory that is the cell's: others run beside it
    """
    if device.type != "cuda":
        return 0
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by this process
    return int(share * (torch.cuda.mem_get_info(device)[0] + unused))
