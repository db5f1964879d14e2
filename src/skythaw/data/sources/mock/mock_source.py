"""A source of the mock sky, and distances. Bands are in the order g, r, i; H0 = 70 km/s/Mpc, Omega_m = 0.3, flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """One object of the sky. Sizes are zero for a point."""

    label: str
    mags: tuple[float, float, float]
    """AB magnitudes in g, r, i"""
    redshift: float = 0.0
    bulge: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """share of the bulge in the light in g, r, i"""
    nucleus: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """share of a point at the centre in the light in g, r, i; the bulge's share is of the rest"""
    bulge_radius: float = 0.0
    """arcsec, half-light radius along the major axis"""
    disc_radius: float = 0.0
    """arcsec, half-light radius along the major axis"""
    axis_ratios: tuple[float, float] = (1.0, 1.0)
    """of bulge and disc"""
    angle: float = 0.0
    """radians, position angle of the major axis"""

    @property
    def is_point(self) -> bool:
        """Whether it has no size."""
        return self.disc_radius == 0.0


def _distances() -> tuple[Floats, Floats]:
    """Redshifts and luminosity distances in Mpc, flat, H0 = 70, Omega_m = 0.3 (trapezium rule)."""
    z = np.linspace(0.0, 5.0, 5001)
    inverse = 1 / np.sqrt(0.3 * (1 + z) ** 3 + 0.7)
    comoving = np.concatenate([[0.0], np.cumsum((inverse[1:] + inverse[:-1]) / 2 * np.diff(z))])
    return z, 299792.458 / 70 * comoving * (1 + z)


_Z, _DL = _distances()


def distance_modulus(z: float) -> float:
    """Distance modulus in mag."""
    return float(5 * np.log10(np.interp(z, _Z, _DL) * 1e5))


def arcsec_per_kpc(z: float) -> float:
    """Angle in arcsec of one kpc."""
    return float(206.265 / (np.interp(z, _Z, _DL) / (1 + z) ** 2))


def k_correction(z: float, red: bool) -> float:
    """K and evolution correction in r, mag; approximate: about Poggianti 1997, with 0.85 mag a redshift taken off."""
    return (0.9 * z + 1.0 * z * z if red else 0.5 * z + 0.3 * z * z) - 0.85 * z


def redshift_at(modulus: float) -> float:
    """The redshift at a distance modulus in mag."""
    return float(np.interp(10 ** (modulus / 5 - 5), _DL, _Z))
