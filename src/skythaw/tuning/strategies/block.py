"""Surgical fine-tuning: one block, or a few that follow each other."""

from __future__ import annotations

from skythaw.tuning.thaw import Thaw


def block(blocks: int, depth: int, span: int = 1) -> Thaw:
    """Train the block at `depth`, counted from the top, and the `span` - 1 above it; all others are frozen.

    Lee et al., arXiv 2210.11466: which part of the network needs to change tells what has changed in the data. Depth 0
    trains the head alone.
    """
    if depth == 0:
        return Thaw.at_once(())
    lowest = blocks - depth
    return Thaw.at_once(range(lowest, min(lowest + span, blocks)))
