"""How much memory a cell or a prediction needs, from what is known before: what it reserves of a cluster. No torch."""

from __future__ import annotations

from skythaw.backbones.network_facts import CutFacts, Facts
from skythaw.spec import Cell
from skythaw.tuning.thaw import Thaw

BASE = 1.1e9
"""bytes of a process that has loaded torch, timm and scikit-learn"""
PREDICTING = 1.3e9
"""bytes of a process that has loaded those and onnxruntime, with a batch of decoded images"""
MARGIN = 1.1
"""times what is counted: rather too much than too little"""
FLOAT = 4
"""bytes of a number"""
WHOLE = 2
"""copies of all parameters: as they are, and folded with batch norm"""
COPIES = 6
"""further ones of what is trained: its gradient, two moments, moving average, best weights, the gradient when folded"""
REMEMBERED = 4
"""and of a training that may go back to its last gain: weights, two moments and moving average of then"""
SLICE = 32
"""images that a frozen prefix gets at once: `skythaw.tuning.frozen.crossing.SLICE`"""
MAPS = 2
"""of the largest size that a pass works with: what a layer takes, and what it gives"""
UNFOLDED = 2
"""times the maps, where batch norm has its own"""
SOLVED_ON = 32_000
"""pooled features that a head is solved on, at most, views included: `skythaw.tuning.linear_probe.ROWS`"""
FEATURE = 12
"""bytes of a pooled feature in the exact probe: as it came, and scaled, in double precision"""


def memory_of(cell: Cell, network: Facts, thaw: Thaw, cuts: tuple[CutFacts, ...], scored: int) -> int:
    """Resident bytes of a cell at its largest: an estimate (docs/performance.md says how good).

    Parameters
    ----------
    cell
        what is run
    network
        its network
    thaw
        which blocks learn
    cuts
        the cut at each depth, for images of the cell's size
    scored
        objects in the validation set
    """
    cut = cuts[thaw.cut(len(network.blocks))]
    trained = sum(network.blocks[i].parameters for i in thaw.blocks)
    copies = COPIES + (REMEMBERED if cell.recipe.epochs == "auto" else 0)
    weights = FLOAT * (WHOLE * network.parameters + copies * trained)
    maps = (cut.held + MAPS * cut.widest) * (UNFOLDED if cell.recipe.batchnorm == "train" else 1)
    passing = max(SLICE * MAPS * cuts[-1].widest, cell.recipe.batch * maps)
    solved_on = max(cell.train_size, min(cell.recipe.views * cell.train_size, SOLVED_ON))
    features = FEATURE * network.channels * (solved_on + scored) if cell.depth == 0 else 0
    return int(BASE + MARGIN * (weights + passing + features))


def memory_of_predicting(weights: int, cut: CutFacts, images: int) -> int:
    """Resident bytes of a worker that predicts, at its largest: an estimate.

    Parameters
    ----------
    weights
        bytes of the network's
    cut
        of all blocks, for images of its size
    images
        that pass through it at once
    """
    return int(PREDICTING + MARGIN * (WHOLE * weights + images * MAPS * cut.widest))
