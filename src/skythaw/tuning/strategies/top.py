"""The seed study's strategy: the upper blocks at once."""

from __future__ import annotations


def top(blocks: int, depth: int) -> range:
    """Train the `depth` uppermost of `blocks` blocks.

    Ethiraj & Bolla, arXiv 2205.07124: every layer from one layer upwards is trainable, all others are frozen.

    Parameters
    ----------
    blocks
        how many blocks the network has
    depth
        how many of them to train, counted from the top

    Returns
    -------
    range
        indices of the trained blocks, in forward order
    """
    return range(blocks - depth, blocks)
