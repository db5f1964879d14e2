"""What a strategy decides: which blocks learn, when, how fast, and from what start. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Thaw:
    """How a network is thawed. Blocks are indices in forward order; the head always learns."""

    phases: tuple[tuple[int, ...], ...]
    """the blocks that learn in each phase; phases share the epochs equally"""
    rates: Mapping[int, float] = field(default_factory=dict)
    """learning rate of a block as a share of the recipe's; 1 where nothing is said"""
    only: Literal["all", "norm"] = "all"
    """``norm``: of the blocks' parameters, those of normalisation layers alone"""
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

    def phase(self, epoch: int, epochs: int) -> tuple[int, ...]:
        """The blocks that learn in an epoch, counted from 1. The last epoch is in the last phase."""
        return self.phases[math.ceil(epoch * len(self.phases) / epochs) - 1]
