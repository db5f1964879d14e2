"""The eight views of a square image: flips and quarter turns. The sky has no up."""

from __future__ import annotations

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
        0 to 7 for each image; 0 is the image as it is

    Returns
    -------
    Tensor
        new, like `x`
    """
    result = torch.empty_like(x)
    chosen = views.cpu()
    for view in chosen.unique().tolist():
        rows = (chosen == view).nonzero()[:, 0].to(x.device)
        part = x[rows]
        part = part.flip(3) if view >= 4 else part
        result[rows] = part.rot90(view % 4, (2, 3))
    return result
