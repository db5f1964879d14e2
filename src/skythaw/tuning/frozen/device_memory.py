"""Kept activations in the memory of a device: the first level, above the files. For GPUs; never run on one.

On a CPU the system's page cache does the same.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from skythaw.data.network_input import release
from skythaw.tuning.frozen.activation_files import VIEWS, Activations, as_used, merged

SHARE = 0.5
"""of the device's free memory that activations may use: the rest is for training"""


class DeviceActivations:
    """Reads as `Activations` does, each value from the files at most once while there is room.

    Parameters
    ----------
    kept
        the files
    rows
        the objects that will be asked for
    device
        where values are held
    room
        bytes that may be used there; what comes when they are used up is read from the files every time
    """

    def __init__(self, kept: Activations, rows: np.ndarray, device: torch.device, room: int) -> None:
        self._kept, self._device = kept, device
        each = sum(prod(shape) * array.dtype.itemsize for shape, array in zip(kept.shapes, kept.arrays, strict=True))
        wanted = int(np.asarray(kept.present).reshape(VIEWS, kept.objects)[:, rows].sum())
        self._capacity = min(wanted, max(0, room) // max(each, 1))
        self.bytes = self._capacity * each
        """that it uses on the device"""
        self._values = [
            torch.empty((self._capacity, array.shape[1]), dtype=getattr(torch, array.dtype.name), device=device)
            for array in kept.arrays
        ]
        self._slots = np.full(len(kept.present), -1, dtype=np.int64)
        self._count = 0

    def absent(self, views: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Which of these are not there: bool [batch]."""
        return self._kept.absent(views, rows)

    def read(self, views: np.ndarray, rows: np.ndarray, device: torch.device) -> tuple[Tensor, ...]:
        """Values of objects, each in its view, float32 [batch, ...]; all must be present."""
        places = views * self._kept.objects + rows
        new = np.unique(places[self._slots[places] < 0])
        if len(new) and self._count < self._capacity:
            self._take(new[: self._capacity - self._count])
        absent = self._slots[places] < 0
        slots = torch.from_numpy(self._slots[places[~absent]]).to(self._device)
        held = tuple(
            as_used(values[slots].float().reshape(len(slots), *shape))
            for shape, values in zip(self._kept.shapes, self._values, strict=True)
        )
        if not absent.any():
            return held
        return merged(self._kept.read(views[absent], rows[absent], device), held, absent)

    def _take(self, places: np.ndarray) -> None:
        """Read some values from the files into the device."""
        slots = slice(self._count, self._count + len(places))
        for held, array in zip(self._values, self._kept.arrays, strict=True):
            held[slots].copy_(torch.from_numpy(array[places]))
            release(array)
        self._slots[places] = np.arange(slots.start, slots.stop)
        self._count = slots.stop


def room_on(device: torch.device, share: float) -> int:
    """Bytes of a GPU that may hold the activations of one cell; 0 on a CPU.

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
    return int(SHARE * share * (torch.cuda.mem_get_info(device)[0] + unused))
