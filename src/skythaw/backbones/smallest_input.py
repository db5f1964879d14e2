"""The smallest image that a network takes: found by trying, on the meta device (shapes without numbers)."""

from __future__ import annotations

import torch

from skythaw.backbones.known_backbones import Backbone
from skythaw.backbones.network import Network, shape_of
from skythaw.errors import CutError

LARGEST_PROBE = 512
"""pixels: a network that doesn't work up to here is given up"""
STEP, TRIED = 32, 6
"""pixels between the sizes that are tried in the place of one that does not work, and how many are"""


def smallest_input(backbone: Backbone, network: Network) -> int:
    """Pixels a side of the smallest square that passes in training and evaluation.

    Parameters
    ----------
    backbone
        the network's description
    network
        on the meta device

    Raises
    ------
    CutError
        It works at no size up to `LARGEST_PROBE`.
    """
    return _of_fixed_size(backbone, network) if backbone.fixed_size else _of_any_size(network)


def _of_any_size(network: Network) -> int:
    """The smallest size that passes, from the total stride up: below it, the last map would see mostly padding."""
    for size in range(_stride(network), LARGEST_PROBE + 1):
        if _passes(network, size):
            return size
    raise CutError(f"{network.name} works on no image of up to {LARGEST_PROBE} pixels a side")


def _of_fixed_size(backbone: Backbone, network: Network) -> int:
    """The same for a network that has to be built for each size: of the multiples of its total stride, and its own."""
    stride = _stride(network)
    for size in range(stride, backbone.input_size, stride):
        try:
            if _passes(shape_of(backbone.with_size(size)), size):
                return size
        except CutError:
            continue
    return backbone.input_size


def nearest_size(backbone: Backbone, size: int) -> int:
    """Of the multiples of `STEP`, that next to `size` on which the network works; else the one it was made for."""
    import timm

    config = timm.get_pretrained_cfg(backbone.model) if backbone.library == "timm" else None
    own = config.input_size[-1] if config else backbone.input_size
    near = sorted(range(STEP, max(own, size) + STEP, STEP), key=lambda each: abs(each - size))
    for each in [each for each in near if each != size][:TRIED]:
        try:
            network = shape_of(backbone.with_size(each))
        except CutError:
            continue
        if each >= _stride(network) and _passes(network, each):
            return each
    return own


def _stride(network: Network) -> int:
    """Pixels of the image in one of its last map, a side, as two passes show; where there is none, as timm says."""
    shapes = [_shape(network, size) for size in (LARGEST_PROBE // 2, LARGEST_PROBE)]
    if all(len(shape) == 4 for shape in shapes):
        return LARGEST_PROBE // 2 // max(shapes[1][2] - shapes[0][2], 1)
    described = getattr(network.features, "feature_info", None)
    return int(described[-1]["reduction"]) if described else 1


def _passes(network: Network, size: int) -> bool:
    """Whether the network works on images of that size, in training and in evaluation."""
    shapes = [_shape(network.train(training), size) for training in (True, False)]
    return all(shape and shape[-1] for shape in shapes)


def _shape(network: Network, size: int) -> tuple[int, ...]:
    """Of what the network gives for two images of that size; empty if they don't pass."""
    try:
        with torch.no_grad():
            return tuple(network(torch.empty(2, network.bands, size, size, device="meta")).shape)
    except (RuntimeError, ValueError, AssertionError):
        return ()
