"""Which parameters of its blocks a strategy trains that does not train all of them, and how many these are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from torch import nn

Part = Literal["all", "norm", "bias", "low_rank"]
"""all; those of normalisation layers; biases, shifts of norms included; a product of low rank, added to each weight"""


def part_parameters(features: nn.Module, part: Part) -> set[str]:
    """The names of the network's own parameters that learn; with ``low_rank`` none does."""
    if part == "norm":
        return norm_parameters(features)
    names = {name for name, _ in features.named_parameters()}
    if part == "bias":
        return {name for name in names if name.rpartition(".")[2] == "bias"}
    return names if part == "all" else set()


def norm_parameters(features: nn.Module) -> set[str]:
    """The names of the scales and shifts of normalisation layers: batch, group and layer norm, and their like."""
    from timm.layers.norm import RmsNorm, RmsNorm2d

    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, RmsNorm, RmsNorm2d)
    return {
        f"{name}.{parameter}" if name else parameter
        for name, module in features.named_modules()
        if isinstance(module, kinds)
        for parameter, _ in module.named_parameters(recurse=False)
    }


def low_rank_layers(features: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layers whose weight is a matrix of some size: linear ones, and convolutions in one group."""
    return {
        name: module
        for name, module in features.named_modules()
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
    }


def sides(layer: nn.Linear | nn.Conv2d) -> tuple[int, int]:
    """Rows and columns of a layer's weight as a matrix: what it gives, and what each of that is made of."""
    return layer.weight.shape[0], layer.weight[0].numel()


def counted(features: nn.Module, names: Collection[str]) -> tuple[int, int]:
    """How many numbers some parameters hold, and in how many layers they are."""
    numbers = sum(features.get_parameter(name).numel() for name in names)
    return numbers, len({name.rpartition(".")[0] for name in names})


def count_parts(features: nn.Module, names: Collection[str]) -> dict[str, tuple[int, int]]:
    """Of the parameters of a block: how many numbers each part has, and in how many layers; of products of rank 1."""
    own = set(names)
    layers = [layer for name, layer in low_rank_layers(features).items() if f"{name}.weight" in own]
    return {
        "norm": counted(features, own & part_parameters(features, "norm")),
        "bias": counted(features, own & part_parameters(features, "bias")),
        "low_rank": (sum(sum(sides(layer)) for layer in layers), len(layers)),
    }
