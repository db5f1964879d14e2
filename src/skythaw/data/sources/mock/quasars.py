"""Quasars of the mock sky: colours computed from a power law, emission lines and the Lyman-alpha forest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from skythaw.data.sources.mock.galaxies import make_galaxy
from skythaw.data.sources.mock.mock_source import Source, distance_modulus, k_correction

Floats = NDArray[np.float64]

# Rest wavelength, equivalent width and sigma of the emission lines (Angstrom): Vanden Berk et al. 2001, table 2. The
# last two stand for the Fe II and Balmer "small blue bump"; they, Lyman alpha's strength (92.9 there) and the slopes
# are a fit of our own to the median g - r and r - i against redshift of 850 SDSS DR14 quasars, good to about 0.05 mag.
QSO_LINES = np.array(
    [
        [1216.0, 65.0, 19.5],
        [1398.0, 8.1, 14.0],
        [1546.0, 23.8, 14.3],
        [1905.0, 21.2, 23.6],
        [2800.0, 32.3, 35.0],
        [4346.0, 12.6, 20.3],
        [4853.0, 46.2, 40.4],
        [5008.0, 13.2, 6.0],
        [6565.0, 194.5, 47.4],
        [2650.0, 60.0, 130.0],
        [3200.0, 62.0, 100.0],
    ]
)
QSO_SLOPE, QSO_RED_SLOPE = -0.42, -1.6
"""Mean slopes of f_nu, blueward and redward of 5000 Angstrom (Vanden Berk et al. 2001: -0.44 and -2.45)."""
# Effective wavelength and full width (Angstrom) of g, r, i: Fukugita et al. 1996, as boxes with soft edges.
FILTERS = ((4686.0, 1387.0), (6166.0, 1373.0), (7480.0, 1526.0))


def quasar_mags(z: float, slope: float, reddening: float = 0.0) -> Floats:
    """Magnitudes in g, r, i of a quasar at redshift z, up to a constant.

    Parameters
    ----------
    z
        redshift
    slope
        of the continuum, f_nu as nu to this power; `QSO_SLOPE` in the mean
    reddening
        E(B - V), mag, of SMC-like dust in the host, 1/wavelength law (Richards et al. 2003)
    """
    mags = []
    for centre, width in FILTERS:
        seen = np.linspace(centre - 0.62 * width, centre + 0.62 * width, 120)
        weight = np.clip((0.62 * width - abs(seen - centre)) / (0.24 * width), 0, 1)
        rest = seen / (1 + z)
        power = (rest / 5000) ** -np.where(rest < 5000, slope, QSO_RED_SLOPE)
        lines = sum(w / np.sqrt(2 * np.pi) / s * np.exp(-(((rest - c) / s) ** 2) / 2) for c, w, s in QSO_LINES)
        flux = (
            power * (1 + lines) * np.exp(-forest(rest, seen)) * 10 ** (-0.4 * reddening * 1.39 * (rest / 1e4) ** -1.2)
        )
        mags.append(-2.5 * np.log10(np.sum(flux * weight) / np.sum(weight)))
    return np.array(mags)


def forest(rest: Floats, seen: Floats) -> Floats:
    """Mean optical depth of the Lyman forest and limit at a wavelength in Angstrom (Madau 1995: alpha and beta)."""
    depth = np.where(rest < 1215.67, 0.0036 * (seen / 1215.67) ** 3.46, 0.0)
    depth = depth + np.where(rest < 1025.72, 0.0017 * (seen / 1025.72) ** 3.46, 0.0)
    return depth + np.where(rest < 912, 3.0, 0.0)  # the limit: opaque enough here


def draw_quasar(rng: np.random.Generator) -> Source:
    """One quasar of the spectroscopic sample.

    Near active galaxies, whose host shows; SDSS I/II (Schneider et al. 2010: i < 19.1, redshift 0.3 to 2.7); eBOSS
    (Paris et al. 2018: i < 21.5, redshift 0.8 to 2.2) and BOSS (above 2.15). Their shares and magnitudes are
    approximate, a fit of our own to the cutouts.
    """
    programme = rng.random()
    if programme < 0.07:
        return _active_galaxy(rng)
    if programme < 0.31:
        z, i = 0.3 + 2.4 * rng.beta(1.9, 2.1), 19.15 - rng.exponential(0.6)
    elif programme < 0.66:
        z, i = float(np.clip(rng.normal(1.55, 0.40), 0.7, 2.3)), 21.3 - abs(rng.normal(0, 1.3))
    else:
        z, i = 2.15 + rng.gamma(1.6, 0.32), 21.4 - abs(rng.normal(0, 1.3))
    mags = _nucleus_mags(rng, float(z), float(max(i, 15.5)))
    return Source("QSO", (float(mags[0]), float(mags[1]), float(mags[2])), float(z))


def _nucleus_mags(rng: np.random.Generator, z: float, i: float) -> Floats:
    """Magnitudes in g, r, i at a redshift and an i magnitude."""
    slope = rng.normal(QSO_SLOPE, 0.25)  # spread: Richards et al. 2001, section 4 (approximate)
    reddened = rng.random() < 0.06  # Richards et al. 2003: 6 % are red by dust
    mags = quasar_mags(z, slope, rng.exponential(0.10) + 0.04 if reddened else 0.0) + rng.normal(0, 0.05, 3)
    return mags - mags[2] + i


def _active_galaxy(rng: np.random.Generator) -> Source:
    """A near quasar in its host galaxy, which SDSS resolves; shares of the light are approximate, our own."""
    z = float(0.05 + 0.45 * rng.beta(2.0, 2.0))
    r = rng.normal(-22.2, 0.6) + distance_modulus(z) + k_correction(z, True)
    host = make_galaxy(rng, float(np.clip(r, 14.5, 20.5)), z, bool(rng.random() < 0.6))
    nucleus = _nucleus_mags(rng, z, host.mags[2] + float(rng.normal(0.6, 0.8)))
    light = 10 ** (-0.4 * np.array([host.mags, nucleus]))
    g, r_, i = -2.5 * np.log10(light.sum(axis=0))
    share = light[1] / light.sum(axis=0)
    mags, shares = (float(g), float(r_), float(i)), (float(share[0]), float(share[1]), float(share[2]))
    return replace(host, label="QSO", mags=mags, nucleus=shares)
