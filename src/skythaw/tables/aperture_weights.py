"""The circles and rings in which images are measured, as weights of pixels: exact shares of area, by photutils."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

RADII = (1.5, 2.5, 4.0, 6.0, 9.0, 13.0, 19.0)
"""pixels: outer edges of the rings, the first of which is a circle"""
SKY = (28.0, 40.0)
"""pixels: edges of the ring that is taken for sky"""
INNER = 3
"""rings that are near the middle: concentration is their share of the light"""
NEAR = 6.0
"""pixels: sizes, offsets, ellipticity, asymmetry and the peak are taken so near to the middle"""
SMALLEST = 80
"""pixels a side: in smaller images all radii shrink in proportion"""


@dataclass(frozen=True, eq=False)
class Apertures:
    """Weights for images of one size. Only pixels within the outermost radius are looked at."""

    pixels: np.ndarray
    """int [pixel]: their places in the flat image"""
    distance: np.ndarray
    """pixels, float64 [pixel]: from the middle"""
    rings: Any
    """sparse [ring pixel]: the share of each pixel in each ring"""
    moments: Any
    """sparse [6 pixel]: 1, x, y, xx, yy and xy near the middle, times the share of each pixel"""
    sky: np.ndarray
    """int [pixel of the sky]: places among `pixels`"""
    inside: np.ndarray
    """int: places of the pixels inside the outermost ring, from the middle outwards"""
    near: np.ndarray
    """int: places of the pixels near the middle"""
    turned: np.ndarray
    """int [pixel]: the place of what lies opposite, half a turn round the middle"""


@lru_cache(maxsize=4)
def apertures_for(height: int, width: int) -> Apertures:
    """The apertures of images of `height` times `width` pixels."""
    from scipy.sparse import csr_array

    scale = min(1.0, min(height, width) / SMALLEST)
    radii, (sky_from, sky_to) = [scale * radius for radius in RADII], (scale * radius for radius in SKY)
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    x, y = x - (width - 1) / 2, y - (height - 1) / 2
    pixels = np.flatnonzero(np.hypot(x, y) <= sky_to + 1)
    x, y = x[pixels], y[pixels]
    distance = np.hypot(x, y)
    edges = [0.0, *radii]
    rings = [_share(height, width, edges[i], edges[i + 1])[pixels] for i in range(len(radii))]
    circle = _share(height, width, 0.0, scale * NEAR)[pixels]
    moments = np.stack([circle, circle * x, circle * y, circle * x * x, circle * y * y, circle * x * y])
    order = np.argsort(distance, kind="stable")
    place = np.full(height * width, -1)
    place[pixels] = np.arange(len(pixels))
    return Apertures(
        pixels,
        distance,
        csr_array(np.stack(rings)),
        csr_array(moments),
        np.flatnonzero((distance >= sky_from) & (distance <= sky_to)),
        order[distance[order] <= radii[-1]],
        np.flatnonzero(circle > 0),
        place[height * width - 1 - pixels],
    )


def _share(height: int, width: int, inner: float, outer: float) -> np.ndarray:
    """float64 [pixel of the flat image]: the share of each pixel in a ring, or in a circle where `inner` is 0."""
    from photutils.aperture import CircularAnnulus, CircularAperture

    middle = ((width - 1) / 2, (height - 1) / 2)
    ring = CircularAnnulus(middle, inner, outer) if inner else CircularAperture(middle, outer)
    return np.asarray(ring.to_mask(method="exact").to_image((height, width)), dtype=np.float64).ravel()
