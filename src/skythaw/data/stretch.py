"""Brightness: from the values of an image to 0..1, and to a picture. numpy alone, so that reports need no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skythaw.spec import Stretch

BLUE_TO_RED = (*"uUB", "blue", *"gV", "green", *"rR", "red", *"iIzyYJHK")
"""Bands whose place in the spectrum is known."""


def brightness(values: np.ndarray, stretch: Stretch) -> np.ndarray:
    """What each value becomes.

    Parameters
    ----------
    values
        uint8 or float32 [..., band], the bands as the stretch counts them
    stretch
        of floats it has `low` and `high`

    Returns
    -------
    numpy.ndarray
        float32 [..., band], 0 to 1
    """
    if values.dtype != np.uint8:
        return _stretched(values, stretch)
    if _is_plain(stretch):
        return np.divide(values, np.float32(255))  # the same bits in a quarter of the time
    table = brightness_table(stretch)
    return table.ravel().take(values) if table.shape[1] == 1 else table[values, np.arange(table.shape[1])]


def brightness_table(stretch: Stretch) -> np.ndarray:
    """What each value of a byte becomes: float32 [value, band], with one column where bands are treated alike."""
    return _stretched(np.arange(256.0)[:, None], stretch).astype(np.float32)


def _is_plain(stretch: Stretch) -> bool:
    """Whether a byte is only divided by 255."""
    ends = set(stretch.low or (0.0,)), set(stretch.high or (255.0,))
    return stretch.kind == "linear" and ends == ({0.0}, {255.0})


def _stretched(x: np.ndarray, stretch: Stretch) -> np.ndarray:
    given = (stretch.low or (0.0,), stretch.high or (255.0,), stretch.softening)
    low, high, softening = (np.array(numbers, x.dtype) for numbers in given)
    x = np.clip((x - low) / (high - low), 0, 1)
    if stretch.kind == "sqrt":
        return np.sqrt(x)
    return np.arcsinh(softening * x) / np.arcsinh(softening) if stretch.kind == "asinh" else x


def suggest(values: np.ndarray) -> Stretch:
    """An asinh stretch to begin with for values [pixel, band]: each band from its 1st to its 99.9th percentile."""
    low, high = (tuple(float(f"{n:.3g}") for n in ends) for ends in np.percentile(values, (1, 99.9), axis=0))
    return Stretch(kind="asinh", low=low, high=tuple(b if b > a else a + 1 for a, b in zip(low, high, strict=True)))


def picture(values: np.ndarray, bands: Sequence[str], stretch: Stretch) -> np.ndarray:
    """Show an image in colours.

    Three bands are shown as red, green and blue: the middle ones by wavelength, the reddest as red. Bands of unknown
    wavelength are taken to be listed from blue to red. A single band is grey.

    Parameters
    ----------
    values
        uint8 or float32 [y, x, band]
    bands
        their names
    stretch
        as `brightness` takes it

    Returns
    -------
    numpy.ndarray
        uint8 [y, x, (red, green, blue)]
    """
    known = {band: place for place, band in enumerate(BLUE_TO_RED)}
    order = sorted(range(len(bands)), key=lambda i: known.get(bands[i], len(known)))
    first = max(0, (len(bands) - 3) // 2)
    some = order[first : first + 3]
    shown = brightness(values, stretch)[..., [some[-1], some[len(some) // 2], some[0]]]
    return np.round(255 * shown).astype(np.uint8)
