"""Low-rank adaptation: the weight of a layer stays, and a product of two small matrices that learn is added to it.

Hu et al., arXiv 2106.09685. The package peft puts modules of its own in the place of layers. Here the weights that a
pass needs are put together before it, so that the network, its names and its cut stay as they are; and when training
ends the product is added for good: what is saved, exported and predicted with is an ordinary network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from skythaw.backbones.part_parameters import sides

SCALE = 2.0
"""of the product; the learning rate, which is raced, makes up for it"""


class LowRank(nn.Module):
    """The products of some layers of a network. They are zero at first.

    Parameters
    ----------
    layers
        by name
    rank
        of the products
    seed
        draws the matrices
    """

    def __init__(self, layers: Mapping[str, nn.Linear | nn.Conv2d], rank: int, seed: int) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(seed)
        self.names = tuple(layers)
        self._weights = [layer.weight for layer in layers.values()]
        shapes = [sides(layer) for layer in layers.values()]
        where = [weight.device for weight in self._weights]
        down = [torch.randn(rank, into, generator=drawn) / into**0.5 for _, into in shapes]
        up = [torch.zeros(out, rank) for out, _ in shapes]
        self.down = nn.ParameterList(nn.Parameter(each.to(to)) for each, to in zip(down, where, strict=True))
        self.up = nn.ParameterList(nn.Parameter(each.to(to)) for each, to in zip(up, where, strict=True))
        self.added = False
        """whether the products are in the weights for the moment"""

    def weights(self) -> dict[str, Tensor]:
        """What takes the place of the weights, by the layer's name."""
        return dict(zip(self.names, map(torch.add, self._weights, self._products()), strict=True))

    def _products(self) -> Iterator[Tensor]:
        for weight, up, down in zip(self._weights, self.up, self.down, strict=True):
            yield SCALE * (up @ down).reshape(weight.shape)

    @torch.no_grad()
    def add(self) -> None:
        """Add the products to the weights."""
        for weight, product in zip(self._weights, self._products(), strict=True):
            weight.add_(product)
        self.added = True

    @contextmanager
    def added_for_now(self) -> Iterator[None]:
        """The products in the weights, for scoring; the weights to the bit as they were, afterwards."""
        own = [weight.detach().clone() for weight in self._weights]
        self.add()
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, before in zip(self._weights, own, strict=True):
                    weight.copy_(before)
            self.added = False
