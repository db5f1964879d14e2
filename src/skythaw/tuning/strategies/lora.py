"""Low-rank adaptation."""

from __future__ import annotations

from skythaw.errors import SpecError
from skythaw.tuning.thaw import Thaw

LARGEST = 1024
"""rank: a product of more has more numbers than most layers"""


def lora(blocks: int, depth: int, rank: int = 8) -> Thaw:
    """Train the head, and a product of rank `rank` beside each weight of the `depth` uppermost blocks.

    Hu et al., arXiv 2106.09685: linear layers, and convolutions that are not by groups. All parameters of the network
    itself are frozen.
    """
    if rank > LARGEST:
        raise SpecError(f"strategy 'lora:{rank}': the rank should be from 1 to {LARGEST}")
    return Thaw((tuple(range(blocks - depth, blocks)),), only="low_rank", rank=rank)
