"""The expected calibration error without the error of counting, and an interval for it that is honest near 0.

The error is the mean over bins of the probability of how far the share of right answers is from the mean probability
(Naeini et al., AAAI 2015). Counted plainly it is too large: where every bin is off by chance alone, their distances
still add up (Kumar, Liang & Ma, arXiv 1909.10155). Here a true error is judged by how often so small a plain error as
the one found, or a smaller one, would come of it. The estimate is the true error for which that is a half. The interval
holds those that the one found is neither too large nor too small for.

How often that is depends on which bins are off. Two answers to that are taken, so that the interval covers: by as much
as was found, and by what of it is beyond chance. The upper end counts in proportion to how often a true error of 0
would give so small a plain one ("CLs", Read, J. Phys. G 28, 2693, 2002): a lucky sample proves no perfection.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from skythaw.stats.intervals import LEVEL

CANDIDATES = np.concatenate([[0.0], np.geomspace(1e-3, 1.0, 80)])
"""true errors that are tried"""
CHANCE = 2.0
"""how many variances of a bin are held to be chance where bins are asked what is beyond it"""


def calibration_error(
    found: Float[np.ndarray, " bin"], noise: Float[np.ndarray, "draw bin"], least: Float[np.ndarray, " bin"]
) -> dict[str, float]:
    """``mean`` (the estimate), ``low`` and ``high``.

    Parameters
    ----------
    found
        of each bin: its share of the objects, times how far they are right more often than their probabilities say
    noise
        by how much other objects would change that, one row a draw
    least
        its variance where every probability is true: a bin in which all were right by luck has no less
    """
    plain = float(np.abs(found).sum())
    lacking = np.sqrt(np.maximum(0.0, least - noise.var(0)))
    noise = noise + lacking * np.random.Generator(np.random.PCG64(29)).normal(size=noise.shape)
    beyond = np.sqrt(np.maximum(0.0, found**2 - CHANCE * noise.var(0)))
    broad = _as_small(found, noise, plain)
    narrow = _as_small(beyond, noise, plain) if beyond.any() else broad
    tail = (1 - LEVEL) / 2
    low, high = _where(narrow, 1 - tail), _where(broad, tail * broad[0])
    middle = (_where(narrow, 0.5) + _where(broad, 0.5)) / 2
    return {"mean": float(np.clip(middle, low, high)), "low": low, "high": high}


def _as_small(
    shape: Float[np.ndarray, " bin"], noise: Float[np.ndarray, "draw bin"], plain: float
) -> Float[np.ndarray, " candidate"]:
    """How often each candidate, shared out over the bins like `shape`, gives a plain error of at most `plain`."""
    total = np.abs(shape).sum()
    share = shape / total if total else np.full(len(shape), 1 / len(shape))
    errors = (np.abs(each * share + noise).sum(1) for each in CANDIDATES)
    return np.minimum.accumulate([float((error <= plain).mean()) for error in errors])


def _where(falling: Float[np.ndarray, " candidate"], level: float) -> float:
    """The candidate at which a falling curve reaches a level."""
    return 0.0 if falling[0] <= level else float(np.interp(-level, -falling, CANDIDATES))
