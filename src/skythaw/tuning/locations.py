"""Where a cell finds things on this machine, and how it runs there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from skythaw.backbones.pretrained_weights import Weights


@dataclass(frozen=True)
class Locations:
    """Where things are on this machine. Only the device decides numbers: a run folder keeps to one kind of it."""

    data: Path
    test: Path | None
    weights: Weights
    cache: Path
    out: Path
    device: str = "auto"
    """``auto`` is a GPU if there is one"""
    reuse: bool = True
    """Whether frozen activations that are kept are read. It decides how long a cell takes, not its numbers."""
    compiled: bool = False
    """Whether the trained part is compiled. It decides last bits: a run folder keeps to one way."""
    share: float = 1.0
    """Of a GPU's free memory: others run there at the same time."""
