"""Cutting a network at a depth: the frozen prefix below, the trained suffix above. Decision 3 of the design.

The network is traced with torch.fx, whose leaves are the largest modules that lie in one block: what happens inside a
block (drop path, batch norm's mode) stays ordinary Python, and the graph is a few nodes a block. Whatever depends on a
trained block is the suffix; all else is the prefix. Both share their modules, so their parameters, with the network.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from skythaw.backbones.network import Network, blocks_within
from skythaw.backbones.tracing import trace
from skythaw.errors import CutError

SEVERAL = "several"
"""of a node: its value is not one tensor with the batch as its first axis"""

OF_SIZES = ("shape", "ndim", "dtype", "device")
"""attributes of a tensor that do not depend on its values"""


@dataclass(frozen=True)
class Cut:
    """A network in two parts: ``suffix(*prefix(images))`` is its last feature map."""

    prefix: nn.Module
    """Images -> a tuple of tensors, all of which have the batch as their first axis."""
    suffix: nn.Module
    """Those tensors, one argument each -> the last feature map [batch, feature, y, x]."""
    crossing: int
    """How many tensors cross from one to the other."""


class Start(nn.Module):
    """The prefix of a network that is trained as a whole: nothing."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images, as a tuple of one."""
        return (images,)


class Whole(nn.Module):
    """The prefix of a network of which nothing is trained, where it can't be traced."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The last features, as a tuple of one."""
        return (self.features(images),)


class Several(nn.Module):
    """The same prefix for several cuts."""

    def __init__(self, prefix: nn.Module, count: int) -> None:
        super().__init__()
        self.prefix, self.count = prefix, count

    def forward(self, images: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """What it gives, once for each."""
        return (self.prefix(images),) * self.count


def cut(network: Network, depth: int) -> Cut:
    """Cut a network below its `depth` topmost blocks.

    Depth 0 leaves the whole backbone in the prefix; with all blocks the prefix is empty.

    Raises
    ------
    CutError
        The depth is beyond the network; or it can't be traced, or what crosses there can't be kept (`cut_or_whole` then
        still works).
    """
    count = len(network.blocks)
    if not 0 <= depth <= count:
        raise CutError(f"depth {depth} is beyond the network: {network.name} has {count} blocks")
    if depth == count:
        return Cut(Start(), network.features, 1)
    graph, owners = traced(network)
    try:
        return _divide(network.features, graph, nodes_above(network, graph, owners, depth))
    except CutError as error:
        raise CutError(f"{network.name}, depth {depth}: {error}") from None


def prefixes(network: Network, depths: Sequence[int]) -> nn.Module:
    """The prefixes of several cuts as one module, which computes what they share once.

    Returns
    -------
    nn.Module
        images -> for each depth, in their order, what the prefix of `cut` at that depth gives

    Raises
    ------
    CutError
        As `cut` does; and for a depth of all blocks, where there is no prefix.
    """
    if astray := [depth for depth in depths if not 0 <= depth < len(network.blocks)]:
        raise CutError(f"depth {astray[0]} of {network.name} has no prefix: it has {len(network.blocks)} blocks")
    if not any(depths) and not _traceable(network):
        return Several(Whole(network.features), len(depths))
    graph, owners = traced(network)
    uppers = [nodes_above(network, graph, owners, depth) for depth in depths]
    return _below(
        network.features, graph, tuple(nodes_crossing(graph, upper) for upper in uppers), set.intersection(*uppers)
    )


def cut_or_whole(network: Network, depth: int) -> Cut:
    """Cut a network; one that can't be cut there stays whole: an empty prefix, so no activations to keep.

    At depth 0 the whole is the prefix.

    Raises
    ------
    CutError
        The depth is beyond the network.
    """
    try:
        return cut(network, depth)
    except CutError:
        if not 0 <= depth <= len(network.blocks):
            raise
        return Cut(Start(), network.features, 1) if depth else Cut(Whole(network.features), nn.Identity(), 1)


def depths_to_cut(network: Network) -> list[int]:
    """At which depths the network can be cut, all blocks apart."""
    found: list[int] = []
    with suppress(CutError):
        graph, owners = traced(network)
        for depth in range(len(network.blocks)):
            with suppress(CutError):
                nodes_crossing(graph, nodes_above(network, graph, owners, depth))
                found.append(depth)
    return found


def _traceable(network: Network) -> bool:
    try:
        traced(network)
    except CutError:
        return False
    return True


def traced(network: Network) -> tuple[fx.Graph, dict[fx.Node, int]]:
    """The graph, traced in evaluation mode (as `set_trainable` leaves every module that spans blocks), and its owners.

    The owner of a node is the block whose parameters or buffers it uses.
    """
    features, block_of = network.features, network.block_of()
    try:
        graph = trace(features, lambda module, name: len(blocks_within(module, name, block_of)) <= 1)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise CutError(f"{network.name} can't be traced, so it can't be cut: {reason}") from error
    owners: dict[fx.Node, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            within = blocks_within(features.get_submodule(str(node.target)), str(node.target), block_of)
            if within:
                owners[node] = within.pop()
            if str(node.target) in network.several:
                node.meta[SEVERAL] = network.several[str(node.target)]
        elif node.op == "get_attr" and str(node.target) in block_of:
            owners[node] = block_of[str(node.target)]
        elif node.target is operator.getitem and isinstance(node.args[0], fx.Node):
            good = node.args[0].meta.get(SEVERAL)
            if good is not None and node.args[1] not in [place for place, each in enumerate(good) if each]:
                node.meta[SEVERAL] = ()
    return graph, owners


def _depending(graph: fx.Graph, sources: set[fx.Node]) -> set[fx.Node]:
    """The nodes, and all that depend on them."""
    found: set[fx.Node] = set()
    for node in graph.nodes:  # in an order in which inputs come first
        if node in sources or any(before in found for before in node.all_input_nodes):
            found.add(node)
    return found


def nodes_above(network: Network, graph: fx.Graph, owners: dict[fx.Node, int], depth: int) -> set[fx.Node]:
    """What depends on the `depth` topmost blocks; a frozen block of which something comes after a trained one, too."""
    lowest = len(network.blocks) - depth
    return _depending(graph, {node for node, owner in owners.items() if owner >= lowest})


def _body(graph: fx.Graph) -> tuple[list[fx.Node], fx.Node]:
    """The nodes without the output, and the node whose value is put out."""
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(result, fx.Node):
        raise CutError("the network's output is not one tensor")
    return [node for node in graph.nodes if node.op != "output"], result


def nodes_crossing(graph: fx.Graph, upper: set[fx.Node]) -> tuple[fx.Node, ...]:
    """The nodes below whose values are used above. With an empty `upper`, only the output's value crosses.

    What is the same for all images of a size (a frozen class token) does not cross: it is taken or made again above.
    """
    body, result = _body(graph)
    of_images = _of_images(body)
    above = upper | {node for node in _made_again(body, upper) if not _is_batch_size(node)}
    below = [node for node in body if node in of_images and node not in upper]
    crossing = tuple(n for n in below if n is result or any(user in above for user in n.users))
    if astray := [node for node in crossing if SEVERAL in node.meta]:
        raise CutError(f"it can't be cut there: {astray[0].name} is not one tensor with the batch as its first axis")
    return crossing


def _of_images(body: list[fx.Node]) -> set[fx.Node]:
    """The nodes whose values are made from pixels, and not from the sizes of tensors or from parameters alone."""
    found: set[fx.Node] = set()
    for node in body:
        if node.op == "placeholder" or (not _is_size(node) and any(each in found for each in node.all_input_nodes)):
            found.add(node)
    return found


def _made_again(body: list[fx.Node], upper: set[fx.Node]) -> set[fx.Node]:
    """What is used above, lies below, and is not made from pixels; the size of a batch is that of what crosses."""
    of_images = _of_images(body)
    found: set[fx.Node] = set()
    for node in reversed(body):
        used = any(user in upper or (user in found and not _is_batch_size(user)) for user in node.users)
        if used and node not in of_images and node not in upper:
            found.add(node)
    return found


def _is_size(node: fx.Node) -> bool:
    called = (node.op, node.target)
    return called == ("call_method", "size") or (called == ("call_function", getattr) and node.args[1] in OF_SIZES)


def _is_batch_size(node: fx.Node) -> bool:
    if _is_size(node):
        return node.args[1:] == (0,)
    of = node.args[0] if node.target is operator.getitem else None
    return isinstance(of, fx.Node) and _is_size(of) and node.args[1:] == (0,)


def _below(features: nn.Module, graph: fx.Graph, wanted: tuple[Any, ...], upper: set[fx.Node]) -> fx.GraphModule:
    """Images -> the values of the wanted nodes, tuples within tuples as they are; no node of `upper` is computed."""
    below = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    for node in _body(graph)[0]:
        if node not in upper:
            values[node] = below.node_copy(node, lambda n: values[n])
    below.output(fx.map_arg(wanted, lambda n: values[n]))
    return _module(features, below)


def _divide(features: nn.Module, graph: fx.Graph, upper: set[fx.Node]) -> Cut:
    """Make the two parts."""
    body, result = _body(graph)
    crossing = nodes_crossing(graph, upper)
    above = fx.Graph()
    values = {node: above.placeholder(node.name) for node in crossing}
    again = _made_again(body, upper)
    for node in body:
        if node in again and _is_batch_size(node):
            values[node] = above.call_method("size", (values[crossing[0]], 0))
        elif node in upper or node in again:
            values[node] = above.node_copy(node, lambda n: values[n])
    above.output(values[result])
    return Cut(_below(features, graph, crossing, upper), _module(features, above), len(crossing))


def _module(features: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    graph.lint()
    module = fx.GraphModule(features, graph)
    module.training = False
    return module
