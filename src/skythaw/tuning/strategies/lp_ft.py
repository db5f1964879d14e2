"""Linear probing, then fine-tuning."""

from __future__ import annotations

from skythaw.tuning.thaw import HEAD, Thaw

RATE = 0.1
"""Learning rate as a share of the recipe's."""


def lp_ft(blocks: int, depth: int) -> Thaw:
    """Solve a restrained head on the frozen features, then train it and the `depth` uppermost blocks at a small rate.

    Kumar et al., arXiv 2202.10054: a head that fits at the start spares the features below it, if the steps are small:
    every rate is `RATE` of the recipe's.
    """
    trained = tuple(range(blocks - depth, blocks))
    return Thaw((trained,), rates=dict.fromkeys((HEAD, *trained), RATE), head="solved")
