"""Linear probing, then fine-tuning."""

from __future__ import annotations

from skythaw.tuning.thaw import Thaw


def lp_ft(blocks: int, depth: int) -> Thaw:
    """Solve the head exactly on the frozen features, then train it and the `depth` uppermost blocks.

    Kumar et al., arXiv 2202.10054: a head that fits at the start spares the features below it.
    """
    return Thaw((tuple(range(blocks - depth, blocks)),), head="solved")
