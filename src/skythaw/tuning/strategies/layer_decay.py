"""Layer-wise decay of the learning rate."""

from __future__ import annotations

from skythaw.tuning.thaw import Thaw

LOWEST = 0.01
"""Learning rate of the network's first block, as a share of the head's."""


def layer_decay(blocks: int, depth: int) -> Thaw:
    """Train the `depth` uppermost blocks, each with a rate smaller by one factor than the block above it.

    Howard & Ruder, arXiv 1801.06146 (discriminative fine-tuning); Bao et al., arXiv 2106.08254 (layer decay). The
    factor is such that the first block of the network, however many there are, has `LOWEST` of the rate of the last.
    """
    steps = max(blocks - 1, 1)
    trained = range(blocks - depth, blocks)
    return Thaw((tuple(trained),), rates={block: LOWEST ** ((blocks - 1 - block) / steps) for block in trained})
