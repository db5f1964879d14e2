"""Stars of the mock sky: the stellar locus of Juric et al. 2008, with white dwarfs off it."""

from __future__ import annotations

import numpy as np

from skythaw.data.sources.mock.mock_source import Source

STAR_TYPES = (
    ("turn-off", 0.60, 0.12, 0.045),
    ("A and horizontal branch", 0.09, -0.07, 0.06),
    ("white dwarf", 0.03, -0.18, 0.09),
    ("K", 0.14, 0.26, 0.09),
    ("M", 0.14, 0.85, 0.35),
)
"""Share, mean and spread of r - i (mag). Shares: our own approximate fit to the DR16 cutouts; they reflect the
selection of targets (standards and SEGUE: mostly F turn-off stars), not the Galaxy."""


def locus_gr(ri: float) -> float:
    """The g - r of the stellar locus at r - i, mag (Juric et al. 2008, eq. 4)."""
    return float(1.39 * (1 - np.exp(-4.9 * ri**3 - 2.45 * ri**2 - 1.68 * ri - 0.050)))


def draw_star(rng: np.random.Generator) -> Source:
    """One star of the spectroscopic sample."""
    kind = rng.choice(len(STAR_TYPES), p=[share for _, share, _, _ in STAR_TYPES])
    name, _, mean, spread = STAR_TYPES[kind]
    ri = float(np.clip(rng.normal(mean, spread), -0.40, 2.2))
    r = _star_magnitude(rng, name)
    return Source("STAR", star_mags(rng, r, ri, name == "white dwarf"), float(rng.normal(0, 4e-4)))


def _star_magnitude(rng: np.random.Generator, name: str) -> float:
    """Magnitude in r. Our own approximate fit: SDSS I/II and SEGUE stars about r = 17.7, BOSS-era targets about 20."""
    if name in ("M", "white dwarf") or rng.random() < 0.32:
        return float(np.clip(rng.normal(19.9, 0.9), 15.5, 21.8))
    return float(np.clip(rng.normal(17.7, 1.0), 14.8, 20.5))


def star_mags(rng: np.random.Generator, r: float, ri: float, white_dwarf: bool = False) -> tuple[float, float, float]:
    """Magnitudes on the locus, with its width of 0.03 mag (Ivezic et al. 2004: 0.02 plus metallicity)."""
    # The fit of Juric et al. holds for r - i > -0.05 or so; bluer stars go on with a slope of 1.6 (approximate).
    gr = locus_gr(ri) if ri > -0.05 else locus_gr(-0.05) + 1.6 * (ri + 0.05)
    if white_dwarf:
        gr = 1.15 * ri - 0.03  # Eisenstein et al. 2006, figure 1: hydrogen white dwarfs (approximate)
    return (r + gr + rng.normal(0, 0.03), r, r - ri + rng.normal(0, 0.02))
