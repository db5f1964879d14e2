"""A classifier cut in two: a frozen prefix, and a suffix with its head that are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from skythaw.backbones.cut import Start, cut_or_whole
from skythaw.backbones.fold_batchnorm import fold
from skythaw.backbones.network import Network, reset, set_trainable
from skythaw.backbones.part_parameters import low_rank_layers, part_parameters, sides
from skythaw.spec import Cell
from skythaw.tuning.low_rank import LowRank
from skythaw.tuning.strategies import strategy
from skythaw.tuning.thaw import Thaw

BatchNorm = Literal["running", "train"]


class Head(nn.Module):
    """Global average pool of a map, dropout, and a linear layer.

    Parameters
    ----------
    features, classes
        how many features come in, and how many classes go out
    dropout
        probability that a feature is dropped in training
    generator
        draws the weights: normal with a standard deviation of 0.01, biases 0
    """

    def __init__(self, features: int, classes: int, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, classes)
        with torch.no_grad():
            self.linear.weight.normal_(0, 0.01, generator=generator)
            self.linear.bias.zero_()

    def forward(self, x: Float[Tensor, "batch feature *map"]) -> Float[Tensor, "batch class"]:
        return self.classify(pool(x))

    def classify(self, features: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch class"]:
        """Logits from what the pooling gives."""
        return self.linear(self.dropout(features))


def pool(x: Float[Tensor, "batch feature *map"]) -> Float[Tensor, "batch feature"]:
    """The global average pool, which needs no training; a transformer has pooled its tokens by itself."""
    return x if x.ndim == 2 else x.mean((2, 3))


class ThawedNetwork(nn.Module):
    """A network cut at a depth, with a head on top.

    Parameters
    ----------
    network
        the backbone; its frozen blocks are never changed
    thaw
        which blocks learn, and when; the cut is made below the lowest of them
    head
        always trained
    batchnorm
        ``running`` or ``train``: what batch norm does in trained blocks
    """

    def __init__(self, network: Network, thaw: Thaw, head: Head, batchnorm: BatchNorm) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.batchnorm = batchnorm
        self.thaw = thaw
        self.cut_depth = thaw.cut(len(network.blocks))
        self.low_rank: LowRank | None = None
        """what is added to the weights while it learns"""
        self._in_suffix: dict[str, str] = {}
        """by the name of an adapted layer: what its weight is called in the trained part"""
        self._learning = thaw.blocks
        fold(network.features)
        parts = cut_or_whole(network, self.cut_depth)
        self.prefix, self.suffix = parts.prefix, parts.suffix
        self.training_pass: Callable[[tuple[Tensor, ...]], Tensor] = self.from_values
        """`from_values` as training calls it"""
        self.tune()

    @property
    def whole(self) -> bool:
        """Nothing is frozen below the trained part, or it can't be cut off: there are no activations to keep."""
        return isinstance(self.prefix, Start)

    def tune(self, blocks: Sequence[int] | None = None) -> None:
        """Training mode: some blocks and the head learn, everything else is frozen and in evaluation mode.

        Without `blocks` they are those of the last call; at first, all that learn at some time.
        """
        if blocks is not None:
            self._learning = tuple(blocks)
        set_trainable(self.network, self._learning, self.batchnorm, self.thaw.only)
        self.head.train().requires_grad_(True)

    def frozen_values(self, x: Float[Tensor, "batch band y x"]) -> tuple[Tensor, ...]:
        """What crosses the cut: the prefix's outputs, without any trace of how they were made.

        At depth 0 these are the pooled features.
        """
        with torch.inference_mode():
            values = self.prefix(x)
            if self.cut_depth == 0:
                values = (pool(self.suffix(*values)),)
        return tuple(value.clone() if value.is_inference() else value for value in values)

    def features(self, values: tuple[Tensor, ...]) -> Float[Tensor, "batch feature"]:
        """What the head gets, pooled, from what crosses the cut."""
        if self.cut_depth == 0:
            return values[0]
        if self.low_rank is None or self.low_rank.added:
            return pool(self.suffix(*values))
        adapted = {self._in_suffix[name]: weight for name, weight in self.low_rank.weights().items()}
        return pool(functional_call(self.suffix, adapted, values))

    def from_values(self, values: tuple[Tensor, ...]) -> Float[Tensor, "batch class"]:
        """Logits from what crosses the cut."""
        return self.head.classify(self.features(values))

    def adapt(self, seed: int) -> None:
        """Begin to train: with low-rank adaptation, put products of its rank, zero at first, beside the weights."""
        if self.thaw.only == "low_rank" and (layers := self._adapted()):
            self.low_rank = LowRank(layers, self.thaw.rank, seed)
            called = {id(module): name for name, module in self.suffix.named_modules()}
            self._in_suffix = {name: f"{called[id(layer)]}.weight" for name, layer in layers.items()}

    def merge(self) -> None:
        """End of training: the products are added to the weights for good."""
        if self.low_rank is not None:
            self.low_rank.add()
            self.low_rank = None

    @property
    def low_rank_parameters(self) -> int:
        """How many numbers low-rank adaptation trains beside the head."""
        return self.thaw.rank * sum(sum(sides(layer)) for layer in self._adapted().values())

    def _adapted(self) -> dict[str, nn.Linear | nn.Conv2d]:
        """The layers that low-rank adaptation changes."""
        own = {name for i in self.thaw.blocks for name in self.network.blocks[i].parameters}
        return {name: one for name, one in low_rank_layers(self.network.features).items() if f"{name}.weight" in own}

    def compile_training(self) -> None:
        """Compile the trained part, forward and backward: fewer, larger kernels, and CUDA graphs on a GPU.

        Its last bits differ then. Written for GPUs, where small networks wait for Python more than they compute; tried
        on CPUs alone.
        """
        compiled = torch.compile(self.from_values, mode="reduce-overhead", dynamic=False)

        def training_pass(values: tuple[Tensor, ...]) -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()  # what the last step gave may be overwritten
            return compiled(values)

        self.training_pass = training_pass

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch class"]:
        return self.from_values(self.frozen_values(x))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Everything in evaluation mode, for scoring; training mode afterwards."""
        self.network.eval()
        self.head.eval()
        try:
            with torch.no_grad(), nullcontext() if self.low_rank is None else self.low_rank.added_for_now():
                yield
        finally:
            self.tune()

    def trained(self) -> dict[str, Tensor]:
        """What may differ from the pretrained network, by name: trained and reset parameters, the head, and buffers."""
        blocks = self.network.blocks
        if self.thaw.only == "low_rank":
            within = {f"{name}.weight" for name in self._adapted()} if self.low_rank is None else set()
        else:
            learning = part_parameters(self.network.features, self.thaw.only)
            within = {name for i in self.thaw.blocks for name in blocks[i].parameters if name in learning}
        changed = self.thaw.blocks if self.batchnorm == "train" else self.thaw.reset
        within |= {name for i in changed for name in blocks[i].buffers}
        names = {f"network.features.{name}" for name in within}
        state = self.state_dict()
        own = {name for name in state if name.startswith(("head.", "low_rank."))}
        return {name: state[name] for name in sorted(names | own)}


def assemble(network: Network, cell: Cell, classes: int) -> ThawedNetwork:
    """A network with what the cell's strategy thaws and resets, and a fresh head drawn from the cell's seed.

    Parameters
    ----------
    network
        the cell's backbone, changed in place
    cell
        decides strategy, depth, seed, dropout and what batch norm does
    classes
        how many the head tells apart
    """
    thaw = strategy(cell.strategy)(len(network.blocks), cell.depth)
    if thaw.reset:
        reset(network, thaw.reset, cell.seed)
    head = Head(network.channels, classes, cell.recipe.dropout, torch.Generator().manual_seed(cell.seed))
    return ThawedNetwork(network, thaw, head, cell.recipe.batchnorm)
