"""Magnitudes and sizes of mock objects as a survey's catalogue would give them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skythaw.data.sources.mock.mock_sky import CALIBRATION, GAIN, PIXEL_SCALE, Field
from skythaw.data.sources.mock.mock_source import Source

Floats = NDArray[np.float64]

SOFTENING = (0.9e-10, 1.2e-10, 1.8e-10)
"""of asinh magnitudes in g, r, i, in maggies (Stoughton et al. 2002, table 21)"""


def asinh_magnitude(flux: Floats, softening: Floats) -> Floats:
    """Asinh magnitudes (Lupton et al. 1999) of fluxes in nmgy; finite for a negative flux."""
    return -2.5 / np.log(10) * (np.arcsinh(flux * 1e-9 / (2 * softening)) + np.log(softening))


def magnitudes(source: Source, field: Field, images: Floats, psfs: Floats, rng: np.random.Generator) -> dict[str, Any]:
    """The ``psfMag`` and ``modelMag`` of an object in g, r, i.

    Parameters
    ----------
    source
        the truth
    field
        its noise
    images
        calibrated images ``[band, y, x]`` in nmgy per pixel, the object at the centre
    psfs
        the point spread functions on the same pixels, unit flux
    rng
        for the noise of modelMag, which is not measured but drawn: true flux and Gaussian noise of the right size
    """
    weight = (psfs**2).sum((1, 2))
    psf_flux = (images * psfs).sum((1, 2)) / weight
    true = 10 ** (-0.4 * (np.array(source.mags) - 22.5))
    # Pixels that the noise is summed over: those of the PSF, more for an extended source.
    radius = max(source.bulge_radius, source.disc_radius) / PIXEL_SCALE
    pixels = 1 / weight + 4 * np.pi * radius**2
    electrons = np.array(GAIN[field.camcol - 1]) / CALIBRATION
    model_flux = true + rng.normal(0, 1, 3) * np.sqrt(pixels * field.noise**2 + true / electrons)
    if source.is_point:
        model_flux = psf_flux
    soft = np.array(SOFTENING)
    measured = {"psfMag": asinh_magnitude(psf_flux, soft), "modelMag": asinh_magnitude(model_flux, soft)}
    return {
        f"{kind}_{band}": float(mag) for kind, mags in measured.items() for band, mag in zip("gri", mags, strict=True)
    }


def half_light_radius(light: Floats, flux: float) -> float:
    """Arcsec: radius of the circle about the centre of an image ``[y, x]`` that holds half of a flux."""
    y, x = np.indices(light.shape) - (np.array(light.shape) - 1)[:, None, None] / 2
    order = np.argsort(np.hypot(x, y), axis=None, kind="stable")
    inside = np.searchsorted(np.cumsum(light.ravel()[order]), flux / 2)
    return float(np.sqrt(min(inside + 0.5, light.size) / np.pi) * PIXEL_SCALE)
