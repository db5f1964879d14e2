"""How images reach the trained part: cut to size, seen in a view, passed through what is frozen or read from there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from skythaw.backbones.known_backbones import backbone_of
from skythaw.data.image_form import RGB
from skythaw.data.network_input import batch_input, device_input, normalise
from skythaw.data.pixel_store import Store
from skythaw.data.views import apply_views
from skythaw.spec import Cell, Pixels
from skythaw.tuning.frozen.activation_files import Activations
from skythaw.tuning.frozen.device_memory import DeviceActivations, DeviceRows, copied


@dataclass(frozen=True)
class LabelledImages:
    """Some labelled objects, and how their pixels become the network's input."""

    pixels: np.ndarray
    """uint8 or float32 [object, y, x, band], all objects of the data set, usually memory-mapped"""
    rows: Int[np.ndarray, " object"]
    """which of them"""
    targets: Int[np.ndarray, " object"]
    """indices of their classes"""
    spec: Pixels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: torch.dtype = torch.float32
    """of the frozen activations, whether they are kept or computed again"""
    kept: Activations | DeviceActivations | None = None
    """those that are kept, for objects without a shift"""
    bands: tuple[str, ...] = RGB
    """names of the bands of `pixels`"""
    held: DeviceRows | None = None
    """those of the pixels that the device holds"""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def made_on_cpu(self) -> bool:
        """Whether the network's input is made there. Of bytes a GPU makes it: they take a quarter of the copying."""
        return self.device.type != "cuda" or self.pixels.dtype != np.uint8

    def batch(
        self,
        chosen: Int[np.ndarray, " batch"],
        views: Int[np.ndarray, " batch"] | None = None,
        shifts: Int[np.ndarray, "batch 2"] | None = None,
    ) -> Float[Tensor, "batch band y x"]:
        """The network's input for some of the objects, seen in the given views."""
        rows = self.rows[chosen]
        if self.made_on_cpu:
            x = batch_input(self.pixels, rows, self.spec, shifts, self.bands).to(self.device)
        else:
            bytes_there = self.held.read(rows)[0] if self.held else copied(self.pixels, rows, self.device)
            x = device_input(bytes_there, self.spec, shifts, self.bands)
        x = normalise(x, self.mean, self.std)
        if views is not None:
            x = apply_views(x, torch.from_numpy(views))
        return x.contiguous(memory_format=torch.channels_last)


def make_images(
    cell: Cell, store: Store, rows: np.ndarray, targets: np.ndarray, device: torch.device
) -> LabelledImages:
    """Some objects, and how the cell's network wants their pixels."""
    wanted = backbone_of(cell).preprocessing
    return LabelledImages(store.pixels, rows, targets, cell.pixels, wanted.mean, wanted.std, device, bands=store.bands)


def holding(images: LabelledImages, room: int) -> LabelledImages:
    """The images, with as many of their pixels on their device as there is room for, in bytes."""
    if images.made_on_cpu or not room:
        return images
    return replace(images, held=DeviceRows((images.pixels,), len(images), images.device, room))
