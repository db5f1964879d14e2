"""Galaxies of the mock sky: a red and a blue population, bulge and disc (Strateva et al. 2001, Baldry et al. 2004)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skythaw.data.sources.mock.mock_source import Source, arcsec_per_kpc, distance_modulus, k_correction, redshift_at

Floats = NDArray[np.float64]

GALAXY_TYPES = (("main", 0.35), ("low-redshift LRG", 0.24), ("CMASS", 0.39), ("emission line", 0.02))
"""Shares of the spectroscopic programmes: Main (Strauss et al. 2002, r < 17.77), LRG / LOWZ (Eisenstein et al. 2001),
BOSS CMASS (Dawson et al. 2013), faint blue galaxies. Approximate, our own fit to the brightness of the DR16 cutouts."""

# Colours as observed against redshift: passive red galaxies and late spirals. Approximate, after Fukugita et al. 1995
# (E and Scd) and Eisenstein et al. 2001 (passive LRG), good to about 0.05 mag; the red ones with the foreground dust of
# E(B - V) = 0.04, as SkyServer's pictures have it.
COLOUR_Z = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
RED_GR = np.array([0.80, 1.00, 1.25, 1.48, 1.68, 1.78, 1.82, 1.84, 1.84])
RED_RI = np.array([0.40, 0.44, 0.49, 0.55, 0.64, 0.80, 0.98, 1.12, 1.22])
BLUE_GR = np.array([0.38, 0.46, 0.58, 0.72, 0.86, 0.95, 0.98, 0.98, 0.96])
BLUE_RI = np.array([0.18, 0.24, 0.27, 0.31, 0.38, 0.50, 0.62, 0.70, 0.75])


def draw_galaxy(rng: np.random.Generator) -> Source:
    """One galaxy of the spectroscopic sample."""
    kind = GALAXY_TYPES[rng.choice(len(GALAXY_TYPES), p=[share for _, share in GALAXY_TYPES])][0]
    if kind == "main":
        # Counts 10^(0.45 r): flatter than the 0.6 of a uniform Euclidean sky, as the magnitudes of DR14 galaxies are.
        r = 17.77 + np.log10(1 - rng.random() * (1 - 10 ** (0.45 * (13.5 - 17.77)))) / 0.45
        # Brighter than M* = -21.2 (Blanton et al. 2003, H0 = 70), as a flux limit favours the bright.
        absolute = rng.normal(-21.9, 0.8)
        z = redshift_at(r - absolute)
        # Share of red galaxies: Baldry et al. 2004, rising from 0.3 at M_r = -19.5 to 0.85 at -22.5 (approximate).
        red = rng.random() < 0.68 + 0.27 * np.tanh((-21.0 - absolute) / 1.2)
    elif kind == "emission line":
        z, r, red = float(rng.uniform(0.05, 0.5)), float(rng.uniform(18.5, 21.0)), False
    else:
        low = kind != "CMASS"
        z = rng.triangular(0.12, 0.34, 0.46) if low else float(np.clip(rng.normal(0.53, 0.08), 0.40, 0.75))
        r = rng.normal(-22.5 if low else -22.60, 0.30) + distance_modulus(z) + k_correction(z, True)
        red = rng.random() < (0.97 if low else 0.85)
    return make_galaxy(rng, float(np.clip(r, 13.5, 21.6)), float(z), bool(red))


def make_galaxy(rng: np.random.Generator, r: float, z: float, red: bool) -> Source:
    """A galaxy of a magnitude in r and a redshift: bulge with the red colours, disc with the rest."""
    total = _galaxy_colours(rng, z, red)
    share = float(np.clip(rng.normal(0.70, 0.2), 0.3, 1.0) if red else rng.beta(1.2, 6.0))
    old = np.array([np.interp(z, COLOUR_Z, RED_GR), np.interp(z, COLOUR_Z, RED_RI)])
    colours = total if red else np.minimum(old, total + 0.35)
    offset = np.array([total[0] - colours[0], 0.0, colours[1] - total[1]])  # bulge minus total in g, r, i, negated
    bulge = np.clip(share * 10 ** (0.4 * offset), 0.0, 1.0)
    radius = shen_radius(rng, r - distance_modulus(z) - k_correction(z, red), red) * arcsec_per_kpc(z)
    thin = float(max(np.sqrt(0.2**2 + (1 - 0.2**2) * rng.random() ** 2), 0.2))  # randomly inclined discs, 0.2 thick
    round_ = float(np.clip(rng.normal(0.75, 0.15), 0.4, 1.0))
    flat = 0.5 * (round_ + 0.7) if red else thin
    # Shen's radii are those of circular apertures; along the major axis they are longer (approximate for discs).
    return Source(
        label="GALAXY",
        mags=(r + float(total[0]), r, r - float(total[1])),
        redshift=z,
        bulge=(float(bulge[0]), float(bulge[1]), float(bulge[2])),
        bulge_radius=float(np.clip(radius * (0.85 if red else 0.35) * round_**-0.5, 0.12, 20)),
        disc_radius=float(np.clip(radius * (1.45 if red else 1.12) * flat**-0.3, 0.15, 25)),
        axis_ratios=(round_, flat),
        angle=float(rng.uniform(0, np.pi)),
    )


def _galaxy_colours(rng: np.random.Generator, z: float, red: bool) -> Floats:
    """The g - r and r - i of a galaxy, mag: a narrow red sequence (0.04), a wide blue cloud (Baldry et al. 2004)."""
    gr, ri = (RED_GR, RED_RI) if red else (BLUE_GR, BLUE_RI)
    mean = np.array([np.interp(z, COLOUR_Z, gr), np.interp(z, COLOUR_Z, ri)])
    shift = rng.normal(0, 0.04 if red else 0.13)
    return mean + shift * np.array([1.0, 0.45]) + rng.normal(0, 0.02, 2)


def shen_radius(rng: np.random.Generator, absolute: float, red: bool) -> float:
    """Half-light radius in kpc at an absolute magnitude in r (Shen et al. 2003, eqs. 14 to 16, table 1, figure 4)."""
    if red:
        mean = -0.4 * 0.60 * absolute - 4.63
    else:
        mean = -0.4 * 0.26 * absolute + 0.25 * np.log10(1 + 10 ** (-0.4 * (absolute + 20.91))) - 1.71
    spread = 0.27 + (0.45 - 0.27) / (1 + 10 ** (-0.8 * (absolute + 20.91)))
    return float(10**mean * np.exp(np.clip(rng.normal(0, spread), -2 * spread, 2 * spread)))
