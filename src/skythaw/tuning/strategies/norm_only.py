"""The scales and shifts of normalisation layers alone."""

from __future__ import annotations

from skythaw.tuning.thaw import Thaw


def norm_only(blocks: int, depth: int) -> Thaw:
    """Train the head, and in the `depth` uppermost blocks the parameters of normalisation layers alone.

    Frankle, Schwab & Morcos, arXiv 2003.00152. A network without such layers (VGG-16) trains its head.
    """
    return Thaw((tuple(range(blocks - depth, blocks)),), only="norm")
