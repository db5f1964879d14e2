"""Where in a network its features still have places: the last map of at least 7 x 7, also if it is made of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from skythaw.backbones.cut import Cut, cut, cut_or_whole, depths_to_cut, prefixes
from skythaw.backbones.network import Network

LEAST = 7
"""cells a side"""


@dataclass(frozen=True)
class LastMap:
    """A network cut where its last map lies."""

    parts: Cut
    side: int
    """cells of the map"""


def last_map(network: Network, image: Tensor) -> LastMap:
    """The highest cut at which a map of `LEAST` cells a side or more crosses; else that of the largest map.

    Of a network that can't be cut, the map is the image itself.

    Parameters
    ----------
    network
        in evaluation mode
    image
        one [1, band, y, x], of the size that the network gets
    """
    depths = depths_to_cut(network)
    with torch.no_grad():
        values = prefixes(network, depths)(image) if depths else ()
    sides = {depth: max(map(map_side, crossing)) for depth, crossing in zip(depths, values, strict=True)}
    if not any(sides.values()):
        return LastMap(cut_or_whole(network, len(network.blocks)), image.shape[-1])
    depth = next((each for each, side in sides.items() if side >= LEAST), max(sides, key=lambda each: sides[each]))
    return LastMap(cut(network, depth), sides[depth])


def map_side(value: Tensor) -> int:
    """How many cells a side the map is that a value holds; 0 if it holds none."""
    found = as_map(value)
    return 0 if found is None else found.shape[-1]


def as_map(value: Tensor) -> Tensor | None:
    """A value that crosses a cut as a square map [batch, feature, y, x]; None if it is none.

    It may be one, or a map [batch, y, x, feature], or tokens [batch, token, feature] of a square, after those of no
    place: the class token and registers.
    """
    if value.ndim == 4:
        if value.shape[2] == value.shape[3]:
            return value
        return value.movedim(3, 1) if value.shape[1] == value.shape[2] else None
    if value.ndim != 3:
        return None
    side = math.isqrt(value.shape[1])
    return value[:, value.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))
