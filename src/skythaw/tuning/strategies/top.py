"""The seed study's strategy: the upper blocks at once."""

from __future__ import annotations

from skythaw.tuning.thaw import Thaw


def top(blocks: int, depth: int) -> Thaw:
    """Train the `depth` uppermost of `blocks` blocks.

    Ethiraj & Bolla, arXiv 2205.07124: every layer from one layer upwards is trainable, all others are frozen.
    """
    return Thaw.at_once(range(blocks - depth, blocks))
