"""What there is in the mock sky: catalogued stars, quasars and galaxies, and the sources around them.

The shares of the spectroscopic programmes within each class are a fit of our own to the real cutouts: see `STAR_TYPES`,
`GALAXY_TYPES` and `draw_quasar`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skythaw.data.sources.mock.galaxies import draw_galaxy, make_galaxy
from skythaw.data.sources.mock.mock_source import Source
from skythaw.data.sources.mock.quasars import draw_quasar
from skythaw.data.sources.mock.stars import draw_star, star_mags

Floats = NDArray[np.float64]

DRAW: Mapping[str, Callable[[np.random.Generator], Source]] = {
    "GALAXY": draw_galaxy,
    "QSO": draw_quasar,
    "STAR": draw_star,
}
"""How to draw an object of each class."""
CLASSES = tuple(DRAW)

GALAXY_DENSITY, STAR_DENSITY = 3.6, 1.8
"""per square arcmin to r = 22: approximate, after the counts of Yasuda et al. 2001; our own fit to the DR16 cutouts"""
FAINTEST = 23.0
"""mag in r: neighbours fainter than this are below the noise of a 54 s exposure"""


def draw_background(rng: np.random.Generator, area: float) -> tuple[Floats, NDArray[np.bool_]]:
    """The r magnitudes of the sources in `area` square arcmin of sky, catalogued objects apart, and which are stars."""
    mags, stars = [], []
    for density, slope, brightest, is_star in ((GALAXY_DENSITY, 0.40, 16.0, False), (STAR_DENSITY, 0.20, 14.0, True)):
        count = rng.poisson(area * density * 10 ** (slope * (FAINTEST - 22)))
        least = 10 ** (slope * (brightest - FAINTEST))
        mags.append(FAINTEST + np.log10(least + (1 - least) * rng.random(count)) / slope)
        stars.append(np.full(count, is_star))
    return np.concatenate(mags), np.concatenate(stars)


def draw_neighbour(rng: np.random.Generator, r: float, is_star: bool) -> Source:
    """A source of the background with a magnitude in r."""
    return _field_star(rng, r) if is_star else _field_galaxy(rng, r)


def _field_star(rng: np.random.Generator, r: float) -> Source:
    """A star of the field: redder the fainter (turn-off stars to M dwarfs)."""
    dwarf = rng.random() < np.clip(0.25 + 0.09 * (r - 17), 0.2, 0.75)
    ri = rng.uniform(0.4, 1.7) if dwarf else rng.gamma(3.0, 0.035) + 0.06
    return Source("STAR", star_mags(rng, r, float(ri)))


def _field_galaxy(rng: np.random.Generator, r: float) -> Source:
    """A galaxy of the field; median redshift after the VVDS (Le Fevre et al. 2005), approximate."""
    z = float(np.clip(rng.gamma(3.0, (0.10 + 0.055 * max(r - 17, 0)) / 2.7), 0.01, 0.8))
    made = make_galaxy(rng, r, z, bool(rng.random() < 0.45))
    return replace(made, bulge=(0.0, 0.0, 0.0)) if r > 20.5 else made
