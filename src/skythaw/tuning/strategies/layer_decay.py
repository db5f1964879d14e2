"""Layer-wise decay of the learning rate."""

from __future__ import annotations

from skythaw.errors import SpecError
from skythaw.tuning.thaw import Thaw

LOWEST = 0.01
"""Learning rate of the network's first block, as a share of the head's, where no factor is given."""


def layer_decay(blocks: int, depth: int, percent: int | None = None) -> Thaw:
    """Train the `depth` uppermost blocks, each with a rate smaller by one factor than the block above it.

    Howard & Ruder, arXiv 1801.06146 (discriminative fine-tuning); Bao et al., arXiv 2106.08254 (layer decay). The
    factor is `percent` / 100; by default such that the first block of the network, however many there are, has
    `LOWEST` of the rate of the last.
    """
    if percent is not None and percent > 100:
        raise SpecError(f"strategy 'layer_decay:{percent}': the percentage should be from 1 to 100")
    factor = LOWEST ** (1 / max(blocks - 1, 1)) if percent is None else percent / 100
    trained = range(blocks - depth, blocks)
    return Thaw((tuple(trained),), rates={block: factor ** (blocks - 1 - block) for block in trained})
