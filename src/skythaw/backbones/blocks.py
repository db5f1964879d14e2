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
from torch.overrides import TorchFunctionMode

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
    """Name of a module, parameter or buffer: when it was first called or used."""
    shape: tuple[int, ...]
    """Of the output; empty if that is not one tensor."""
    several: dict[str, tuple[bool, ...]]
    """Name of a module that does not give one tensor with the batch as its first axis: which parts of that are one."""


def probe(features: nn.Module, size: int, bands: int = 3) -> Traversal:
    """Send an image of `size` pixels and so many bands through a copy of the network on the meta device."""
    shadow = copy.deepcopy(features).to("meta").eval()
    calls: dict[str, int] = {}
    several: dict[str, tuple[bool, ...]] = {}
    names = {module: name for name, module in shadow.named_modules()}
    tensors = {id(each): name for name, each in (*shadow.named_parameters(), *shadow.named_buffers())}

    def note(module: nn.Module, inputs: object) -> None:
        calls.setdefault(names[module], len(calls))

    class Uses(TorchFunctionMode):
        """Some tensors are used by other modules than their owner."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            for each in (*args, *(kwargs or {}).values()):
                if id(each) in tensors:
                    calls.setdefault(tensors[id(each)], len(calls))
            return func(*args, **(kwargs or {}))

    def look(module: nn.Module, inputs: object, output: object) -> None:
        if not _of_batch(output):
            several[names[module]] = tuple(map(_of_batch, output)) if isinstance(output, list | tuple) else ()

    for module in names:
        module.register_forward_pre_hook(note)
        module.register_forward_hook(look)
    with torch.no_grad(), Uses():
        output = shadow(torch.empty(1, bands, size, size, device="meta"))
    return Traversal(calls, tuple(output.shape) if isinstance(output, Tensor) else (), several)


def _of_batch(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == 1  # one image is sent


def first_convolution(features: nn.Module, calls: dict[str, int]) -> str:
    """The name of the convolution that is called first, which the bands of an image meet; empty if there is none."""
    found = [name for name, module in features.named_modules() if isinstance(module, nn.Conv2d) and name in calls]
    return min(found, key=lambda name: calls[name], default="")


def find_blocks(features: nn.Module, calls: dict[str, int], group_of: GroupOf) -> tuple[Block, ...]:
    """Divide a network into blocks, in forward order.

    A group without weights of two or more dimensions (DenseNet's last batch norm) joins the block below it. A buffer
    that is not used (what positions were computed from) goes with its group, or belongs to the last block.

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
    if idle := [name for name in parameters if _owner(name) not in calls and name not in calls]:
        raise CutError(f"can't be divided into blocks: {idle[0]} belongs to a module that the forward pass never calls")

    def when(name: str) -> int:
        """The call of its module; what is used without one, or is the whole network's own, comes by its use."""
        own = _owner(name)
        return calls[own] if own in calls and own else calls.get(name, len(calls))

    groups: dict[tuple[Hashable, ...], list[str]] = {}
    for name in sorted(names, key=when):  # stable: as registered within a module
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
    with the last of all (``conv_head`` of MobileNet); for us that is a block of its own. What a function puts together
    from two lists (CaiT's blocks with those of the class token, which come later) is two groups.
    """
    if callable(matcher):
        return lambda name: Group((matcher(name), *re.findall(r"^\w+(?=\.\d)", name)), _owner(name))
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


def tree_groups(features: nn.Module) -> GroupOf:
    """The units of a network's module tree, for one that has no ``group_matcher``.

    Lists of units, and what holds such lists (a stage), are opened; what is in them is a unit. A tensor of a list or a
    stage itself belongs to the unit before.
    """
    opened = {name for name, module in features.named_modules() if any(map(_lists_units, (module, *module.children())))}

    def group_of(name: str) -> Group:
        words = name.split(".")
        for count in range(1, len(words)):
            if (label := ".".join(words[:count])) not in opened:
                return Group((label,), label)
        return Group((name,), name, joins=True)

    return group_of


def _lists_units(module: nn.Module) -> bool:
    listed = isinstance(module, nn.Sequential | nn.ModuleList)
    return listed and any(list(child.parameters()) and list(child.children()) for child in module.children())


def pytorchcv_group(name: str) -> Group:
    """The unit in a pytorchcv name: ``stage1.unit2`` of ``stage1.unit2.conv.weight``; else its first word."""
    match = re.match(r"stage\d+\.unit\d+|[^.]+", name)
    label = match.group() if match else name
    return Group((label,), label)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
