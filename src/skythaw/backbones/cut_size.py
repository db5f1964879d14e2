"""How large a cut is, for one image: what crosses it, and what training above it holds in memory.

The network is run once, node by node of its graph, on the meta device: shapes without numbers. What a node saves for
the backward pass is held if the node lies above the cut. Two batches are looked at: what is held however many images
there are (folded weights) is no image's. Neither is of one image, for which a layer may save less.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, fx

from skythaw.backbones.cut import nodes_above, nodes_crossing, traced
from skythaw.backbones.network import Network
from skythaw.errors import CutError

BATCHES = (2, 3)
"""images"""
Held = dict[int, int]
"""bytes of tensors, by their place in memory"""


def footprints(network: Network, size: int) -> list[tuple[int | None, int, int]]:
    """The cut at each depth, from 0 to all blocks.

    Parameters
    ----------
    network
        on the meta device, all of whose parameters have gradients
    size
        of the images, pixels a side

    Returns
    -------
    list
        numbers that cross (at depth 0 the pooled features; None where there is no cut), bytes held, bytes of the
        largest map held
    """
    count = len(network.blocks)
    images = [torch.empty(n, network.bands, size, size, device="meta") for n in BATCHES]
    try:
        graph, owners = traced(network)
    except CutError:
        whole = _of_one([_held_by(network.features, image) for image in images])
        return [(network.channels if depth == 0 else None, *whole) for depth in range(count + 1)]
    runs = [_Run(network.features, graph, each) for each in images]
    found: list[tuple[int | None, int, int]] = []
    for depth in range(count + 1):
        crosses = None
        above = set(graph.nodes)
        if depth < count:
            above = nodes_above(network, graph, owners, depth)
            with suppress(CutError):
                crosses = sum(runs[0].numbers[node] for node in nodes_crossing(graph, above)) // BATCHES[0]
        held = _of_one([run.held(node for node in graph.nodes if node in above) for run in runs])
        found.append((network.channels if depth == 0 else crosses, *held))
    return found


class _Run(fx.Interpreter):
    """What each node gave, and saved."""

    def __init__(self, features: torch.nn.Module, graph: fx.Graph, images: Tensor) -> None:
        super().__init__(features, garbage_collect_values=False, graph=graph)
        self.numbers: dict[fx.Node, int] = {}
        self._saved: dict[fx.Node, Held] = {}
        self._result = self.run(images)  # which keeps what was saved alive, so in its place
        del self._result

    def run_node(self, n: fx.Node) -> Any:
        value, self._saved[n] = _watched(lambda: super(_Run, self).run_node(n))
        self.numbers[n] = value.numel() if isinstance(value, Tensor) else 0
        return value

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[Any, Any]:
        args, kwargs = super().fetch_args_kwargs_from_env(n)
        return tuple(map(_changeable, args)), {name: _changeable(value) for name, value in kwargs.items()}

    def held(self, nodes: Iterable[fx.Node]) -> Held:
        """What these nodes saved, each tensor once, in their order."""
        return {place: size for node in nodes for place, size in self._saved[node].items()}


def _changeable(value: Any) -> Any:
    """A list as networks have it: a graph's own can't be changed, and some modules do."""
    return [_changeable(each) for each in value] if isinstance(value, list) else value


def _held_by(features: torch.nn.Module, images: Tensor) -> Held:
    return _watched(lambda: features(images))[1]


def _watched(call: Any) -> tuple[Any, Held]:
    """What a call gives, and saves for the backward pass, parameters apart."""
    saved: Held = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        return call(), saved


def _of_one(held: list[Held]) -> tuple[int, int]:
    """Bytes of one image, all together and of the largest, from what the two batches hold."""
    few, many = (list(each.values()) for each in held)
    if len(few) == len(many):
        sizes = [b - a for a, b in zip(few, many, strict=True)]
        return sum(sizes), max(sizes, default=0)
    return max(0, sum(many) - sum(few)), max(many, default=0) // BATCHES[1]
