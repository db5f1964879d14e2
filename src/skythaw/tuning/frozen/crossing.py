"""What crosses the cut for some images: read where it is kept, computed where it is not. The bits are the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from skythaw.tuning.frozen.activation_files import as_kept, as_used, merged, rounded
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.thawed_network import ThawedNetwork

SLICE = 32
"""Images that a frozen prefix gets at once."""


def crossing(
    model: ThawedNetwork,
    images: LabelledImages,
    chosen: Int[np.ndarray, " batch"],
    views: Int[np.ndarray, " batch"] | None = None,
    shifts: Int[np.ndarray, "batch 2"] | None = None,
) -> tuple[Tensor, ...]:
    """What crosses the model's cut for some of the objects: read where it is kept, computed where it is not.

    The bits are the same either way: see `compute`. A network without a prefix gets its images as they are.
    """
    views = np.zeros(len(chosen), dtype=np.int64) if views is None else views
    if model.whole:
        return (images.batch(chosen, views, shifts),)
    if images.kept is None or shifts is not None:
        return compute(model, images, chosen, views, shifts)
    rows = images.rows[chosen]
    absent = images.kept.absent(views, rows)
    if not absent.any():
        return images.kept.read(views, rows, images.device)
    missing = compute(model, images, chosen[absent], views[absent])
    if absent.all():
        return missing
    there = images.kept.read(views[~absent], rows[~absent], images.device)
    return merged(missing, there, absent)


def compute(
    model: ThawedNetwork,
    images: LabelledImages,
    chosen: Int[np.ndarray, " batch"],
    views: Int[np.ndarray, " batch"],
    shifts: Int[np.ndarray, "batch 2"] | None = None,
) -> tuple[Tensor, ...]:
    """What crosses the cut, computed; in `images.precision`, but for pooled features, which stay as they are.

    The network always gets `SLICE` images at once, the last slice filled up. So what it gives for an image does not
    depend on the images beside it, and can be kept for any batch, bit for bit.
    """
    dtype = torch.float32 if model.cut_depth == 0 else images.precision
    parts = []
    for rows, count in slices(len(chosen)):
        x = images.batch(chosen[rows], views[rows], None if shifts is None else shifts[rows])
        with torch.autocast(images.device.type, enabled=False):  # as the pass that fills what is kept
            values = model.frozen_values(x)
        parts.append([as_used(as_kept(value[:count]).contiguous()) for value in values])
    return tuple(rounded(torch.cat(tensors), dtype) for tensors in zip(*parts, strict=True))


def slices(count: int) -> Iterator[tuple[Int[np.ndarray, " slice"], int]]:
    """Places in slices of `SLICE`, and how many of each are meant: the last is filled up with its first."""
    for start in range(0, count, SLICE):
        meant = min(SLICE, count - start)
        places = np.full(SLICE, start)
        places[:meant] = np.arange(start, start + meant)
        yield places, meant
