"""The eight views of a square image: flips and quarter turns. The sky has no up."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Float32, Int
from torch import Tensor


def apply_views(
    x: Float32[Tensor, "batch band y x"], views: Int[Tensor, " batch"]
) -> Float32[Tensor, "batch band y x"]:
    """Each image in its own view: view k is flipped left-right if k >= 4, then turned counterclockwise k % 4 times.

    Parameters
    ----------
    x
        square images; its memory format is kept
    views
        0 to 7 for each image, on the CPU; 0 is the image as it is

    Returns
    -------
    Tensor
        new, like `x`
    """
    if x.device.type == "cuda":
        return gathered(x, views)
    result = torch.empty_like(x)
    for view in views.unique().tolist():
        rows = (views == view).nonzero()[:, 0]
        result[rows] = _turned(x[rows], view)
    return result


def gathered(x: Float32[Tensor, "batch band y x"], views: Int[Tensor, " batch"]) -> Float32[Tensor, "batch band y x"]:
    """The same as `apply_views`, in one pass for which a GPU is not waited for; the result is channels-last."""
    batch, band, height, width = x.shape
    places = _places(height, x.device)[views.to(x.device)]
    pixels = x.permute(0, 2, 3, 1).reshape(batch, height * width, band)
    found = pixels.gather(1, places[:, :, None].expand(-1, -1, band))
    return found.view(batch, height, width, band).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=8)
def _places(size: int, device: torch.device) -> Int[Tensor, "view pixel"]:
    """Which pixel of an image each pixel of its eight views is."""
    with torch.inference_mode(False):  # it is kept for others, who may be training
        image = torch.arange(size * size).view(1, 1, size, size)
        return torch.stack([_turned(image, view).flatten() for view in range(8)]).to(device)


def _turned(x: Tensor, view: int) -> Tensor:
    return (x.flip(3) if view >= 4 else x).rot90(view % 4, (2, 3))
