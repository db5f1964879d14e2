"""Where the bands of an array are, and what becomes of its masked pixels: the same for FITS and TIFF."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MASKED = 0.05
"""share of a band's pixels that may be NaN or infinite; they become 0"""
MOST_LAST = 16
"""bands, at most, that are looked for in the last axis"""


def bands_are_last(shape: Sequence[int]) -> bool:
    """Whether an array of three axes looks like [y, x, band]: the last axis is small, and the first two are alike."""
    height, width, last = shape
    short, long = sorted((height, width))
    return last <= MOST_LAST and 2 * last <= short and long <= 2 * short


def fill_masked(cube: np.ndarray, bands: Sequence[str], most: float | None) -> np.ndarray:
    """The cube [band, y, x], changed in place: without values that are not finite, if these are few in every band.

    Parameters
    ----------
    cube
        floats
    bands
        names, for errors
    most
        share of a band that may be masked; masked pixels become the median of the others. None: `MASKED`, and they
        become 0

    Raises
    ------
    ValueError
        More of a band is masked, or all of it.
    """
    masked = ~np.isfinite(cube)
    shares = masked.mean((1, 2))
    worst, allowed = int(shares.argmax()), MASKED if most is None else most
    if shares[worst] > allowed or shares[worst] == 1:
        advice = f"at most {100 * allowed:g} % may be" if shares[worst] < 1 else "there is nothing to fill them from"
        raise ValueError(f"{100 * shares[worst]:.0f} % of band {bands[worst]!r} are NaN or infinite; {advice}")
    if most is None:
        cube[masked] = 0
        return cube
    for plane, hidden in zip(cube, masked, strict=True):
        if hidden.any():
            plane[hidden] = np.median(plane[~hidden])
    return cube
