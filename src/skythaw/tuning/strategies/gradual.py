"""Gradual unfreezing: from the top, by phases."""

from __future__ import annotations

import math

from skythaw.tuning.thaw import Thaw

PHASES = 4


def gradual(blocks: int, depth: int) -> Thaw:
    """Train the head alone, then more and more of the upper blocks, until `depth` of them learn.

    Howard & Ruder, arXiv 1801.06146, who thaw a layer an epoch; here there are at most `PHASES` phases of equal length,
    each thawing as many blocks, so that networks of 18 and of 59 blocks are treated alike.
    """
    depths = sorted({math.ceil(depth * step / (PHASES - 1)) for step in range(PHASES)})
    return Thaw(tuple(tuple(range(blocks - each, blocks)) for each in depths))
