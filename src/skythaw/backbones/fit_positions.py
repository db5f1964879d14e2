"""Position embeddings of weights, interpolated for another size of image, where timm's own translation does not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skythaw.backbones.checkpoint import State

ABSOLUTE = "pos_embed"
RELATIVE = ("relative_position_bias_table", "attention_biases")


def fit_positions(own: State, state: State) -> State:
    """A state whose position embeddings have the network's shapes; all else, and what fits already, stays.

    Parameters
    ----------
    own
        of the network
    state
        of the file, under the network's names
    """
    return {name: _fitted(name, tensor, own[name]) if name in own else tensor for name, tensor in state.items()}


def _fitted(name: str, tensor: Tensor, own: Tensor) -> Tensor:
    last = name.rpartition(".")[2]
    if tensor.shape == own.shape or tensor.ndim != own.ndim or not tensor.is_floating_point():
        return tensor
    if ABSOLUTE in last and _tokens(tensor, own):
        return _of_tokens(tensor, own)
    if ABSOLUTE in last and tensor.ndim == 4 and tensor.shape[:2] == own.shape[:2]:  # [1, feature, y, x]
        return _resized(tensor, (own.shape[2], own.shape[3]))
    if ABSOLUTE in last and tensor.ndim == 4 and tensor.shape[3] == own.shape[3]:  # [1, y, x, feature]
        return _resized(tensor.movedim(3, 1), (own.shape[1], own.shape[2])).movedim(1, 3)
    if last in RELATIVE and tensor.ndim == 2:
        places = 0 if tensor.shape[1] == own.shape[1] else 1  # [place, head] or [head, place]
        if tensor.shape[1 - places] == own.shape[1 - places]:
            swapped = tensor.movedim(places, 0)[None]
            return _of_tokens(swapped, own.movedim(places, 0)[None])[0].movedim(0, places)
    return tensor


def _tokens(tensor: Tensor, own: Tensor) -> bool:
    """Whether both are [..., token, feature] and differ in their tokens alone."""
    return (*tensor.shape[:-2], tensor.shape[-1]) == (*own.shape[:-2], own.shape[-1])


def _of_tokens(tensor: Tensor, own: Tensor) -> Tensor:
    """Tokens [..., token, feature] of a square, after those of no place (the class token)."""
    sides = [math.isqrt(each.shape[-2]) for each in (tensor, own)]
    first, wanted = (each.shape[-2] - side**2 for each, side in zip((tensor, own), sides, strict=True))
    if first != wanted:
        return tensor
    alone, placed = tensor[..., :first, :], tensor[..., first:, :]
    square = placed.movedim(-1, 0).reshape(placed.shape[-1], -1, sides[0], sides[0])
    fitted = _resized(square, (sides[1], sides[1])).flatten(2).reshape(placed.shape[-1], *placed.shape[:-2], -1)
    return torch.cat([alone, fitted.movedim(0, -1)], -2)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic, as timm interpolates the positions that it knows."""
    resized = torch.nn.functional.interpolate(maps.float(), size, mode="bicubic", antialias=True)
    return resized.to(maps.dtype)
