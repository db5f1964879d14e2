"""Numbers measured from the images alone: brightness in rings, sky, colours and shapes.

The object is taken to be in the middle. An image gives the same bits alone and among others, so that a study and a
prediction agree: every sum over pixels is a sparse product or a running sum, which add in one fixed order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from skythaw.data.cutouts import Cutouts
from skythaw.data.pixel_store import Progress, Store
from skythaw.data.stretch import BLUE_TO_RED
from skythaw.tables.aperture_weights import INNER, RADII, Apertures, apertures_for
from skythaw.tables.number_files import read_numbers, write_numbers
from skythaw.tables.number_table import NumberTable

MEASURED = 1
"""version of the numbers; part of the key of what is kept, and of a cell's key"""
CHUNK = 64
"""images at a time"""
COLOURED = (0, 2, 4, 6)
"""rings in which colours are taken"""
SHAPES = ("concentration", "gini", "m20", "asymmetry", "ellipticity", "peak")
"""taken from the mean of all bands"""


def measured_of(cutouts: Cutouts, store: Store, cache: Path, progress: Progress | None = None) -> NumberTable:
    """The measured numbers of `cutouts`: from the cache folder, or measured now and put there.

    Parameters
    ----------
    cutouts, store
        the objects and their decoded images
    cache
        the folder for caches; made if it is not there
    progress
        called with what is gone through and its number, if the images have to be measured

    Raises
    ------
    OutputError
        The cache folder can't be written.
    """
    key = hashlib.sha256(f"{MEASURED} {cutouts.sha256} {' '.join(store.broken)}".encode()).hexdigest()[:32]
    path, ids = Path(cache) / "numbers" / f"{key}.safetensors", tuple(cutouts.object_ids)
    table = read_numbers(path, ids, measured_names(store.bands))
    if table is None:
        table = measured(store.pixels, ids, store.bands, store.usable, progress=progress)
        write_numbers(path, table)
    return table


def measured(
    pixels: np.ndarray,
    ids: Sequence[str],
    bands: Sequence[str],
    usable: np.ndarray,
    *,
    progress: Progress | None = None,
) -> NumberTable:
    """Measure images.

    Parameters
    ----------
    pixels
        uint8 or float32 [object, y, x, band]; what is not finite is missing
    ids
        one an image
    bands
        names of the bands
    usable
        bool [object]; where it is False, all numbers are missing
    progress
        called with the chunks and their number

    Returns
    -------
    NumberTable
        `measured_names` of each object; a number that can't be measured is missing
    """
    count, height, width, _ = pixels.shape
    apertures, order = apertures_for(height, width), blue_to_red(bands)
    values = np.full((count, len(measured_names(bands))), np.nan)
    starts = range(0, count, CHUNK)
    for start in starts if progress is None else progress(starts, len(starts)):
        rows = start + np.flatnonzero(usable[start : start + CHUNK])
        if len(rows):
            values[rows] = _numbers(pixels[rows], order, apertures)
    return NumberTable(tuple(ids), measured_names(bands), values)


def measured_names(bands: Sequence[str]) -> tuple[str, ...]:
    """The names of the measured numbers of images with these bands."""
    names = [bands[place] for place in blue_to_red(bands)]
    each = [f"ring {ring + 1}" for ring in range(len(RADII))] + ["sky", "scatter", "size", "offset"]
    colours = [f"colour {ring + 1} {a} - {b}" for a, b in pairwise(names) for ring in COLOURED]
    return (*(f"{what} {band}" for what in each for band in names), *colours, *SHAPES)


def blue_to_red(bands: Sequence[str]) -> list[int]:
    """The places of bands by wavelength; bands of unknown wavelength are taken to be listed from blue to red."""
    known = {band: place for place, band in enumerate(BLUE_TO_RED)}
    return sorted(range(len(bands)), key=lambda place: known.get(bands[place], len(known)))


@dataclass(frozen=True)
class _Light:
    """Light above the sky; a column is one band of one image."""

    above: np.ndarray
    """float64 [pixel, column]; 0 where there is no pixel"""
    there: np.ndarray
    """float64 [pixel, column]: 1 where there is a pixel, else 0"""
    unit: np.ndarray
    """float64 [column]: what brightness is counted in"""
    floats: bool
    """images of 8 bits were compressed when they were made; those of floats are compressed here"""

    def brightness(self, value: np.ndarray) -> np.ndarray:
        return np.arcsinh(value / self.unit) if self.floats else value


def _numbers(images: np.ndarray, order: Sequence[int], apertures: Apertures) -> np.ndarray:
    """float64 [image number] of images [image, y, x, band], in the order of `measured_names`."""
    count, bands = len(images), len(order)
    flat = images.reshape(count, -1, bands)[:, apertures.pixels]
    chosen = flat[:, :, list(order)].transpose(1, 0, 2).reshape(len(apertures.pixels), -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        light, sky, scatter = _above_sky(chosen.astype(np.float64), images.dtype != np.uint8, apertures)
        rings = light.brightness(_means(light, apertures))
        size, offset, _ = _moments(light, apertures)
        each = np.stack([*rings, sky, scatter, size, offset]).reshape(-1, count, bands)
        colours = -np.diff(each[list(COLOURED)], axis=2)
        shapes = _shapes(_mean_of_bands(light, bands), apertures)
    parts = (each.transpose(1, 0, 2), colours.transpose(1, 2, 0), shapes.T)
    values = np.concatenate([part.reshape(count, -1) for part in parts], axis=1)
    return np.where(np.isfinite(values), values, np.nan)


def _above_sky(values: np.ndarray, floats: bool, apertures: Apertures) -> tuple[_Light, np.ndarray, np.ndarray]:
    """Light above the sky, the sky, and its scatter, of values [pixel, column]."""
    there = np.isfinite(values)
    values = np.where(there, values, np.nan)
    outer = values[apertures.sky]
    sky = _median(outer)
    scatter = 1.4826 * _median(np.abs(outer - sky))
    above = np.where(there, values - sky, 0.0)
    unit = np.where(scatter > 0, scatter, np.abs(above).max(0)) if floats else np.ones_like(sky)
    return _Light(above, there.astype(np.float64), unit, floats), sky, scatter


def _median(values: np.ndarray) -> np.ndarray:
    """float64 [column]: the median of what is not NaN in values [pixel, column], NaN where there is nothing."""
    ordered = np.sort(values, axis=0)
    count = len(values) - np.isnan(values).sum(0)
    low, high = (np.clip(place, 0, len(values) - 1) for place in ((count - 1) // 2, count // 2))
    columns = np.arange(values.shape[1])
    return (ordered[low, columns] + ordered[high, columns]) / 2


def _means(light: _Light, apertures: Apertures) -> np.ndarray:
    """float64 [ring column]: mean light of each ring; NaN where more than half of it is missing."""
    area = apertures.rings @ light.there
    whole = apertures.rings @ np.ones((len(light.there), 1))
    return np.where(area >= whole / 2, apertures.rings @ light.above / area, np.nan)


def _moments(light: _Light, apertures: Apertures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size, offset (pixels) and ellipticity of the light near the middle, each float64 [column]."""
    total, x, y, xx, yy, xy = apertures.moments @ np.maximum(light.above, 0)
    total = np.where((total > 0) & _mostly_there(light, apertures), total, np.nan)
    size = np.sqrt((xx + yy) / total)
    offset = np.sqrt(x * x + y * y) / total
    return size, offset, np.sqrt((xx - yy) ** 2 + 4 * xy * xy) / (xx + yy)


def _mostly_there(light: _Light, apertures: Apertures) -> np.ndarray:
    area = apertures.moments[:1] @ light.there
    return area[0] >= apertures.moments[0].sum() / 2


def _mean_of_bands(light: _Light, bands: int) -> _Light:
    """The mean of all bands of each image, each in its unit; a pixel is there where all its bands are."""
    there = light.there.reshape(len(light.there), -1, bands).min(2)
    shares = (light.above / light.unit).reshape(len(light.above), -1, bands)
    mean = shares[:, :, 0]
    for band in range(1, bands):
        mean = mean + shares[:, :, band]
    mean = np.where(np.isfinite(mean), mean / bands, 0.0) * there
    return _Light(mean, there, np.ones(mean.shape[1]), light.floats)


def _shapes(light: _Light, apertures: Apertures) -> np.ndarray:
    """float64 [shape image], in the order of `SHAPES`."""
    flux = np.cumsum(apertures.rings @ light.above, axis=0)
    concentration = np.where(flux[-1] > 0, flux[INNER - 1] / flux[-1], np.nan)
    turned = light.above[apertures.turned] * light.there
    both = light.above * light.there[apertures.turned]
    near = apertures.moments[:1]
    asymmetry = (near @ np.abs(both - turned))[0] / (near @ np.abs(both))[0]
    inside = light.above[apertures.inside]
    peak = light.brightness(light.above[apertures.near].max(0))
    found = np.stack(
        [concentration, _gini(inside), _m20(inside, apertures), asymmetry, _moments(light, apertures)[2], peak]
    )
    return np.where(_mostly_there(light, apertures), found, np.nan)


def _gini(light: np.ndarray) -> np.ndarray:
    """The Gini coefficient of light [pixel, image] (Lotz et al. 2004, equation 6)."""
    ordered = np.sort(np.abs(light), axis=0)
    n = len(light)
    rank = np.arange(1 - n, n, 2, dtype=np.float64)[:, None]
    return _sum(rank * ordered) / (_sum(ordered) * max(1, n - 1))


def _m20(light: np.ndarray, apertures: Apertures) -> np.ndarray:
    """M20 of light [pixel, image]: the second moment of the brightest fifth (Lotz et al. 2004, equation 8)."""
    light = np.maximum(light, 0)
    order = np.argsort(-light, axis=0, kind="stable")
    light, far = np.take_along_axis(light, order, axis=0), apertures.distance[apertures.inside][order] ** 2
    running = np.cumsum(light, axis=0)
    brightest = np.where(running <= 0.2 * running[-1], light * far, (np.arange(len(light)) == 0)[:, None] * light * far)
    return np.log10(_sum(brightest) / _sum(light * far))


def _sum(values: np.ndarray) -> Any:
    """Sums over pixels [pixel, image], added in their order, however many images there are."""
    return np.cumsum(values, axis=0)[-1]
