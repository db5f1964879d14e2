"""What a strategy decides: which blocks learn, when, how fast, and from what start. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

HEAD = -1
"""stands for the head among the blocks of `Thaw.rates`"""


@dataclass(frozen=True)
class Thaw:
    """How a network is thawed. Blocks are indices in forward order; the head always learns."""

    phases: tuple[tuple[int, ...], ...]
    """the blocks that learn in each phase; phases are of equal length"""
    rates: Mapping[int, float] = field(default_factory=dict)
    """learning rate of a block, or of the `HEAD`, as a share of the recipe's; 1 where nothing is said"""
    only: Literal["all", "norm", "bias", "low_rank"] = "all"
    """of the blocks' parameters: ``norm``, those of normalisation layers alone; ``bias``, biases alone; ``low_rank``,
    none of their own, but a product that is added to each weight"""
    rank: int = 0
    """of these products"""
    head: Literal["random", "solved"] = "random"
    """where the head starts: drawn, or solved exactly on the frozen features"""
    reset: tuple[int, ...] = ()
    """blocks whose pretrained weights are replaced by random ones"""

    @classmethod
    def at_once(cls, blocks: Iterable[int]) -> Thaw:
        """These blocks, together, from beginning to end."""
        return cls((tuple(blocks),))

    @property
    def blocks(self) -> tuple[int, ...]:
        """All that learn at some time."""
        return tuple(sorted({block for phase in self.phases for block in phase} | set(self.reset)))

    def cut(self, count: int) -> int:
        """The depth of the cut below the lowest of them, in a network of so many blocks."""
        return count - min(self.blocks, default=count)

    def phase(self, part: int, parts: int) -> tuple[int, ...]:
        """The blocks that learn in one of some equal parts of training, counted from 1."""
        return self.phases[math.ceil(part * len(self.phases) / parts) - 1]
