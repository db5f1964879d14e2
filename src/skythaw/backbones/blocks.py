"""A backbone's blocks: its natural units in forward order, which hold every parameter and buffer once.

timm says by a network's ``group_matcher`` which parameters go together; pytorchcv names its units. The order is not
taken from names but measured: one image is sent through a copy on the meta device (shapes only, no numbers) and each
module's first call is noted.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skythaw.errors import CutError

WITH_PREVIOUS = (99999,)
"""timm's suffix for "in the group before"."""


@dataclass(frozen=True)
class Group:
    """Where a parameter or buffer belongs, by its name."""

    key: tuple[Hashable, ...]
    label: str
    joins: bool = False
    """Its tensors are part of the block before."""


GroupOf = Callable[[str], Group]


@dataclass(frozen=True)
class Block:
    """A natural unit of a backbone."""

    name: str
    parameters: tuple[str, ...]
    """Qualified names in `Network.features`."""
    buffers: tuple[str, ...]
    """Qualified names in `Network.features`."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all parameters and buffers."""
        return self.parameters + self.buffers


@dataclass(frozen=True)
class Traversal:
    """What one pass of an image shows."""

    calls: dict[str, int]
    """Module name: when it was first called."""
    shape: tuple[int, ...]
    """Of the output: batch, feature, y, x."""


def probe(features: nn.Module, size: int, bands: int = 3) -> Traversal:
    """Send an image of `size` pixels and so many bands through a copy of the network on the meta device.

    Raises
    ------
    CutError
        The output is not one feature map.
    """
    shadow = copy.deepcopy(features).to("meta").eval()
    calls: dict[str, int] = {}

    names = {module: name for name, module in shadow.named_modules()}

    def note(module: nn.Module, inputs: object) -> None:
        calls.setdefault(names[module], len(calls))

    for module in names:
        module.register_forward_pre_hook(note)
    with torch.no_grad():
        output = shadow(torch.empty(1, bands, size, size, device="meta"))
    if not isinstance(output, Tensor) or output.ndim != 4:
        kind = f"a tensor {list(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise CutError(f"the network is no CNN: its last features are {kind}, not a map [batch, feature, y, x]")
    if output.shape[1] != getattr(features, "num_features", output.shape[1]) == output.shape[3]:
        raise CutError("the network is no CNN: its last map is [batch, y, x, feature], not [batch, feature, y, x]")
    return Traversal(calls, tuple(output.shape))


def first_convolution(features: nn.Module, calls: dict[str, int]) -> str:
    """The name of the convolution that is called first, which the bands of an image meet; empty if there is none."""
    found = [name for name, module in features.named_modules() if isinstance(module, nn.Conv2d) and name in calls]
    return min(found, key=lambda name: calls[name], default="")


def find_blocks(features: nn.Module, calls: dict[str, int], group_of: GroupOf) -> tuple[Block, ...]:
    """Divide a network into blocks, in forward order.

    A group without weights of two or more dimensions (DenseNet's last batch norm) joins the block below it.

    Parameters
    ----------
    features
        the network; modules that its forward pass never calls are already gone
    calls
        module name: when it was first called
    group_of
        gives the group of a parameter or buffer from its name

    Raises
    ------
    CutError
        A parameter belongs to a module that is never called.
    """
    parameters = dict(features.named_parameters())
    names = [*parameters, *dict(features.named_buffers())]
    if idle := [name for name in names if _owner(name) not in calls]:
        raise CutError(f"can't order the blocks: {idle[0]} belongs to a module that the forward pass never calls")
    groups: dict[tuple[Hashable, ...], list[str]] = {}
    for name in sorted(names, key=lambda name: calls[_owner(name)]):  # stable: as registered within a module
        groups.setdefault(group_of(name).key, []).append(name)
    merged: list[list[str]] = []
    for members in groups.values():
        small = all(parameters[name].ndim < 2 for name in members if name in parameters)
        if merged and (small or group_of(members[0]).joins):
            merged[-1] += members
        else:
            merged.append(members)
    return tuple(
        Block(
            name=group_of(members[0]).label,
            parameters=tuple(name for name in members if name in parameters),
            buffers=tuple(name for name in members if name not in parameters),
        )
        for members in merged
    )


def timm_groups(matcher: Any) -> GroupOf:
    """Read timm's ``group_matcher(coarse=False)``: a table of patterns, or a function of the name.

    A key is (line of the table, numbers in the name, suffix). The suffix `WITH_PREVIOUS` after a number means: with the
    unit of that number (DenseNet's transition with the last layer of its dense block). Without a number timm means:
    with the last of all (``conv_head`` of MobileNet); for us that is a block of its own.
    """
    if callable(matcher):
        return lambda name: Group((matcher(name),), _owner(name))
    patterns: list[tuple[re.Pattern[str], str, tuple[int, ...]]] = []
    for line, specs in matcher.items():
        for pattern, suffix in [(specs, None)] if isinstance(specs, str) else specs or ():
            patterns.append((re.compile(pattern), line, tuple(suffix or ())))

    def group_of(name: str) -> Group:
        for pattern, line, suffix in patterns:
            if match := pattern.match(name):
                numbers = [int(number) for number in match.groups() if number is not None]
                label = "stem" if line == "stem" else match.group()
                return Group((line, *numbers, *suffix), label, bool(numbers) and suffix == WITH_PREVIOUS)
        return Group(("unmatched",), _owner(name))

    return group_of


def pytorchcv_group(name: str) -> Group:
    """The unit in a pytorchcv name: ``stage1.unit2`` of ``stage1.unit2.conv.weight``; else its first word."""
    match = re.match(r"stage\d+\.unit\d+|[^.]+", name)
    label = match.group() if match else name
    return Group((label,), label)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
