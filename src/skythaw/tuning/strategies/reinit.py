"""A control: the top block loses what it was taught."""

from __future__ import annotations

from skythaw.tuning.thaw import Thaw


def reinit(blocks: int, depth: int) -> Thaw:
    """Train the `depth` uppermost blocks, the last of them from random weights.

    Zhang et al., arXiv 2006.05987, do it to fine-tune better; here it is a control: what are the pretrained weights of
    the last block worth? Depth 0 is the head alone, with nothing reset.
    """
    trained = tuple(range(blocks - depth, blocks))
    return Thaw((trained,), reset=trained[-1:])
