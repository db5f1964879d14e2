"""From decoded pixels to what a network gets: crop, choose bands, stretch, resize, normalise."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional

from skythaw.data.image_form import RGB
from skythaw.data.stretch import brightness, brightness_table
from skythaw.spec import Pixels


def batch_input(
    pixels: np.ndarray,
    rows: np.ndarray,
    spec: Pixels,
    shifts: np.ndarray | None = None,
    bands: Sequence[str] = RGB,
) -> Float32[Tensor, "batch band y x"]:
    """Cut some images, choose their bands, stretch and resize them.

    The crop of a cutout of n pixels begins at pixel (n - crop) // 2, so an even crop of an even cutout keeps the centre
    between the same two pixels, an odd one of an odd cutout on the same pixel; else it moves by half a pixel.

    Parameters
    ----------
    pixels
        uint8 or float32 [object, y, x, band], as in `Store.pixels`
    rows
        which objects, int [batch]
    spec
        crop, size, bands and stretch
    shifts
        int [batch, (dy, dx)], moves the crop by so many pixels of the cutout
    bands
        names of the bands of `pixels`, as in `Store.bands`

    Returns
    -------
    Tensor
        0 to 1, float32 [batch, band, y, x], channels-last in memory, not normalised

    Raises
    ------
    SpecError, UnknownNameError
        The crop, with the shifts, is larger than the cutout; a band is not there.
    """
    top, left = _corner(pixels.shape[1:3], spec, shifts)
    if shifts is None:
        cut = pixels[:, top : top + spec.crop, left : left + spec.crop][rows]
    else:
        windows = np.lib.stride_tricks.sliding_window_view(pixels, (spec.crop, spec.crop), (1, 2))
        cut = windows.transpose(0, 1, 2, 4, 5, 3)[rows, top + shifts[:, 0], left + shifts[:, 1]]
    release(pixels)
    if spec.bands is not None:
        cut = cut.take(spec.places(bands), axis=3)
    x = torch.from_numpy(brightness(cut, spec.stretch)).permute(0, 3, 1, 2)
    return _resize(x, spec)


def device_input(
    images: UInt8[Tensor, "batch height width given"],
    spec: Pixels,
    shifts: np.ndarray | None = None,
    bands: Sequence[str] = RGB,
) -> Float32[Tensor, "batch band y x"]:
    """The same as `batch_input` of images that are on a device already, done there."""
    top, left = _corner(images.shape[1:3], spec, shifts)
    if shifts is None:
        cut = images[:, top : top + spec.crop, left : left + spec.crop]
    else:
        first = torch.from_numpy(shifts + np.array((top, left))).to(images.device)
        y, x = (first[:, axis, None] + torch.arange(spec.crop, device=images.device) for axis in (0, 1))
        image = torch.arange(len(images), device=images.device)
        cut = images[image[:, None, None], y[:, :, None], x[:, None, :]]
    if spec.bands is not None:
        cut = cut[..., spec.places(bands)]
    table = torch.from_numpy(brightness_table(spec.stretch)).to(images.device)
    band = torch.arange(table.shape[1], device=images.device)
    return _resize(table[cut.int(), band].permute(0, 3, 1, 2), spec)


def _corner(shape: Sequence[int], spec: Pixels, shifts: np.ndarray | None) -> tuple[int, int]:
    """Where the crop of a cutout begins, (y, x); raises as `batch_input`."""
    largest = 0 if shifts is None or not len(shifts) else int(np.abs(shifts).max())
    spec.require_room(min(shape), largest)
    return (shape[0] - spec.crop) // 2, (shape[1] - spec.crop) // 2


def normalise(
    x: Float32[Tensor, "batch band y x"], mean: Sequence[float], std: Sequence[float]
) -> Float32[Tensor, "batch band y x"]:
    """(x - mean) / std for each band; `mean` and `std` are of pixels scaled to 0..1, as a network's weights expect."""
    shape = (1, -1, 1, 1)
    return (x - x.new_tensor(mean).view(shape)) / x.new_tensor(std).view(shape)


def release(array: np.ndarray) -> None:
    """Unmap the pages just read from a file: they stay in the system's cache, but are no longer this process's memory.

    Without it, resident memory grows with every object touched, up to the size of the whole set.
    """
    mapping = getattr(array, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _resize(x: Tensor, spec: Pixels) -> Tensor:
    size, how = spec.size, spec.interpolation
    if x.shape[-1] == size:
        return x
    return functional.interpolate(x, (size, size), mode=how, align_corners=False, antialias=True).clamp_(0, 1)
