"""Whether a network takes a cell's images, has what its strategy trains, and gets batches large enough. No torch."""

from __future__ import annotations

import math

from skythaw.backbones.network_facts import Facts
from skythaw.errors import SpecError
from skythaw.spec import Cell, Recipe
from skythaw.tuning.strategies import strategy


def require_fitting(cell: Cell, network: Facts) -> None:
    """Raise `SpecError` unless the network takes images of that size, and low-rank adaptation finds layers in it."""
    if cell.pixels.size < network.smallest_input:
        raise SpecError(
            f"{cell.backbone} takes images of at least {network.smallest_input} pixels, not size = {cell.pixels.size}; "
            f"set size = {network.smallest_input} or more (the crop is then enlarged)"
        )
    thaw = strategy(cell.strategy)(len(network.blocks), cell.depth)
    if thaw.only == "low_rank" and thaw.blocks and not any(network.blocks[i].parts["low_rank"][1] for i in thaw.blocks):
        raise SpecError(
            f"strategy {cell.strategy!r} at depth {cell.depth}: the upper {len(thaw.blocks)} of {len(network.blocks)} "
            f"blocks of {cell.backbone} have no linear layer and no ordinary convolution; take another depth, or top"
        )


def require_batches(size: int, recipe: Recipe) -> None:
    """Batch norm has no statistics of a batch of one."""
    if recipe.batchnorm == "train" and size // math.ceil(size / recipe.batch) < 2:
        raise SpecError(f"batchnorm = 'train' with batch = {recipe.batch} and {size} images makes batches of one image")
