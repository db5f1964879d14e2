"""Biases alone."""

from __future__ import annotations

from skythaw.tuning.thaw import Thaw


def bias_only(blocks: int, depth: int) -> Thaw:
    """Train the head, and in the `depth` uppermost blocks the biases alone, with the shifts of normalisation layers.

    Ben Zaken, Ravfogel & Goldberg, arXiv 2106.10199 (BitFit).
    """
    return Thaw((tuple(range(blocks - depth, blocks)),), only="bias")
