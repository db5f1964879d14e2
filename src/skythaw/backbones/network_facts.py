"""What a network is made of, in numbers: computed once, kept in the cache folder, read without torch after that."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skythaw.backbones.known_backbones import Backbone
from skythaw.errors import CutError, SpecError
from skythaw.machine.files import replacing
from skythaw.spec import parse_depth

if TYPE_CHECKING:
    from skythaw.backbones.network import Network
    from skythaw.backbones.part_parameters import Part

FOLDER = "networks"
"""in the cache folder; a file's name begins with the network's"""
FORMAT = 3
"""Raised by one when what is kept, or how it is counted, changes."""


@dataclass(frozen=True)
class BlockFacts:
    """One block in numbers."""

    name: str
    parameters: int
    layers: int
    """Modules with parameters of their own: convolution, linear, batch norm."""
    parts: dict[str, tuple[int, int]]
    """Parameters and layers of ``norm`` (normalisation layers), ``bias`` (biases) and ``low_rank``: see
    `skythaw.backbones.part_parameters`. Those of low rank are for rank 1."""


@dataclass(frozen=True)
class Ratios:
    """How much of a network is trained, from 0 to 1; the head is counted in both parts of each ratio."""

    tpr: float
    """Tuning parameter ratio."""
    tlr: float
    """Tuning layer ratio."""
    tfr: float | None
    """Tuning FLOP ratio of the forward pass; None without FLOPs."""


@dataclass(frozen=True)
class Facts:
    """A network in numbers."""

    name: str
    blocks: tuple[BlockFacts, ...]
    """In forward order."""
    channels: int
    """Features of the last map."""
    smallest_input: int
    """pixels a side: the smallest square that passes in training and evaluation, not below the total stride"""

    @property
    def parameters(self) -> int:
        """Of the whole backbone."""
        return sum(block.parameters for block in self.blocks)

    @property
    def layers(self) -> int:
        """Of the whole backbone."""
        return sum(block.layers for block in self.blocks)

    def depth(self, depth: int | str, classes: int) -> int:
        """Settle a depth as a count of blocks.

        ``"25%"`` is of the blocks, half a block rounded up; ``"tpr:10%"`` is the depth of the nearest tuning parameter
        ratio with a head for so many classes, the smaller of two as near.

        Raises
        ------
        SpecError
            It is not a depth, or beyond the network.
        """
        kind, value = parse_depth(depth)
        count = len(self.blocks)
        if kind == "percent":
            return math.floor(value * count / 100 + 0.5)
        if kind == "tpr":
            return min(
                range(count + 1),
                key=lambda n: abs(self.ratios(range(count - n, count), classes, None).tpr - value / 100),
            )
        if value > count:
            raise SpecError(f"depth {depth} is beyond the network: {self.name} has {count} blocks")
        return int(value)

    def ratios(
        self,
        trained: Collection[int],
        classes: int,
        flops: tuple[int, ...] | None,
        only: Part = "all",
        rank: int = 1,
    ) -> Ratios:
        """How much is trained if these blocks are (by index, in forward order), with the head for so many classes.

        `flops` are those of `block_flops`: the forward FLOPs of each block. With `only` a part of their parameters is
        trained, or products of `rank` that come to them; the FLOPs counted are still those of the blocks.
        """
        weights, some = self.channels * classes, [self.blocks[i] for i in trained]
        counts = [(b.parameters, b.layers) if only == "all" else b.parts[only] for b in some]
        times = rank if only == "low_rank" else 1
        parameters, layers = times * sum(n for n, _ in counts), sum(n for _, n in counts)
        head = weights + classes
        added = parameters if only == "low_rank" else 0
        return Ratios(
            tpr=(parameters + head) / (self.parameters + added + head),
            tlr=(layers + 1) / (self.layers + 1),
            tfr=None if flops is None else (sum(flops[i] for i in trained) + 2 * weights) / (sum(flops) + 2 * weights),
        )


@dataclass(frozen=True)
class CutFacts:
    """A cut in numbers, for one image."""

    values: int | None
    """numbers that cross; at depth 0 the pooled features. None where there is no cut: with all blocks trained, or in a
    network that can't be traced"""
    held: int
    """bytes that a training step of what lies above holds until its backward pass (batch norm on running statistics)"""
    widest: int
    """bytes of the largest map among them"""


def facts(backbone: Backbone, cache: Path) -> Facts:
    """The network in numbers, from the cache folder if they are there.

    Raises
    ------
    CutError
        It gives no features, can't be divided into blocks, or works at no size up to 512 pixels.
    """
    file = _file(backbone, cache, "facts")
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        kept["blocks"] = tuple(_block(**block) for block in kept["blocks"])
        return Facts(**kept)
    except (OSError, ValueError, KeyError, TypeError):
        found = _measure(backbone)
    _keep(file, asdict(found))
    return found


def _block(parts: dict[str, list[int]], **others: Any) -> BlockFacts:
    return BlockFacts(parts={name: (numbers, layers) for name, (numbers, layers) in parts.items()}, **others)


def block_flops(backbone: Backbone, size: int, cache: Path) -> tuple[int, ...]:
    """Forward FLOPs of each block, in forward order, for one image of `size` pixels a side.

    Convolutions and matrix products count, a multiplication and an addition as two.

    Raises
    ------
    CutError
        The network doesn't work on images of that size.
    """
    file = _file(backbone, cache, f"flops-{size}")
    try:
        return tuple(int(flops) for flops in json.loads(file.read_text(encoding="utf-8"))["flops"])
    except (OSError, ValueError, KeyError, TypeError):
        found = _count_flops(backbone, size)
    _keep(file, {"flops": found})
    return found


def cuts(backbone: Backbone, size: int, cache: Path) -> tuple[CutFacts, ...]:
    """The cut at each depth, from 0 to all blocks, for images of `size` pixels a side.

    Raises
    ------
    CutError
        The network doesn't work on images of that size.
    """
    file = _file(backbone, cache, f"cuts-{size}")
    try:
        return tuple(CutFacts(**each) for each in json.loads(file.read_text(encoding="utf-8"))["cuts"])
    except (OSError, ValueError, KeyError, TypeError):
        found = _look_at_cuts(backbone, size)
    _keep(file, {"cuts": [asdict(each) for each in found]})
    return found


def _file(backbone: Backbone, cache: Path, what: str) -> Path:
    try:
        made_by = version(backbone.library)
    except PackageNotFoundError:
        made_by = ""
    content = [FORMAT, backbone.name, backbone.library, made_by, backbone.model, backbone.options]
    content += [backbone.input_size, backbone.bands]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return cache / FOLDER / f"{backbone.name.replace(':', '-').replace('/', '-')}-{key}-{what}.json"


def _keep(file: Path, content: dict[str, Any]) -> None:
    """Write a file that is there whole or not at all; a cache that can't be written is done without."""
    try:
        with replacing(file) as part:
            part.write(json.dumps(content).encode())
    except OSError:
        return


def _measure(backbone: Backbone) -> Facts:
    from skythaw.backbones.part_parameters import count_parts, counted
    from skythaw.backbones.smallest_input import smallest_input

    network = _of_size(backbone, backbone.input_size)
    features = network.features
    counts = [(counted(features, b.parameters), count_parts(features, b.parameters)) for b in network.blocks]
    blocks = [BlockFacts(b.name, *every, parts) for b, (every, parts) in zip(network.blocks, counts, strict=True)]
    return Facts(backbone.name, tuple(blocks), network.channels, smallest_input(backbone, network))


def _of_size(backbone: Backbone, size: int) -> Network:
    """The network on the meta device for images of that size."""
    from skythaw.backbones.network import shape_of

    try:
        return shape_of(backbone.with_size(size))
    except CutError as error:
        if not backbone.fixed_size or "set size" in str(error):
            raise
        raise _wrong_size(backbone, size) from None


def _wrong_size(backbone: Backbone, size: int) -> CutError:
    from skythaw.backbones.smallest_input import nearest_size

    near = nearest_size(backbone, size)
    return CutError(
        f"{backbone.name} doesn't work on images of {size} pixels, but on such of {near}: set size = {near}"
    )


def _look_at_cuts(backbone: Backbone, size: int) -> tuple[CutFacts, ...]:
    from skythaw.backbones.cut_size import footprints
    from skythaw.backbones.fold_batchnorm import fold

    network = _of_size(backbone, size)
    fold(network.features)
    try:
        return tuple(CutFacts(*each) for each in footprints(network, size))
    except (RuntimeError, ValueError, AssertionError):
        raise _wrong_size(backbone, size) from None


def _count_flops(backbone: Backbone, size: int) -> tuple[int, ...]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from skythaw.backbones.network import blocks_within

    network = _of_size(backbone, size).requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            network(torch.empty(1, network.bands, size, size, device="meta"))
        except (RuntimeError, ValueError, AssertionError):
            raise _wrong_size(backbone, size) from None
    root = type(network).__name__ + ".features"
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    flops = [0] * len(network.blocks)
    block_of = network.block_of()
    inside: tuple[str, ...] = ()
    for name, module in network.features.named_modules():  # outer modules first
        within = blocks_within(module, name, block_of)
        if len(within) == 1 and not name.startswith(inside):
            flops[within.pop()] += counts.get(f"{root}.{name}", 0)
            inside += (f"{name}.",)
    return tuple(flops)
