"""Which part of a network is trained, in words: what a strategy and a depth come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USUAL = "top"
"""The strategy that trains all of the upper blocks; it is not named."""
PART_OF = {
    "norm_only": "the normalisation layers of ",
    "bias_only": "the biases of ",
    "lora": "low-rank products beside the weights of ",
}


def trained_blocks(about: Mapping[str, Any]) -> str:
    """What of the blocks is trained.

    Parameters
    ----------
    about
        ``strategy``, ``depth`` and ``blocks``

    Examples
    --------
    >>> trained_blocks({"strategy": "top", "depth": 9, "blocks": 18})
    'the last 9 of its 18 blocks trained'
    >>> trained_blocks({"strategy": "block:2", "depth": 9, "blocks": 18})
    'blocks 8 to 9 of its 18 blocks, counted from the last, trained (strategy block:2)'
    """
    strategy, depth, blocks = about["strategy"], about["depth"], about["blocks"]
    base, _, number = strategy.partition(":")
    named = "" if strategy == USUAL else f" (strategy {strategy})"
    if depth == 0:
        return f"none of its {blocks} blocks trained (a new last layer alone)"
    if base == "block":
        first = max(1, depth - int(number or 1) + 1)
        which = f"block {depth}" if first == depth else f"blocks {first} to {depth}"
        return f"{which} of its {blocks} blocks, counted from the last, trained{named}"
    upper = f"all of its {blocks} blocks" if depth == blocks else f"the last {depth} of its {blocks} blocks"
    return f"{PART_OF.get(base, '')}{upper} trained{named}"
