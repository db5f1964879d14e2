"""A mock survey that looks like SDSS: stars, quasars and galaxies rendered with GalSim, with known truth, offline.

What there is on the sky is in `populations`, where it is in `sky`, how it is observed in `render`, what
a catalogue says of it in `photometry`. Object ``i`` depends on the seed and ``i`` alone: a smaller survey is the
beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skythaw.data.cutouts import write_cutouts
from skythaw.data.sources.mock.mock_sky import PER_FIELD, PIXEL_SCALE, Sky
from skythaw.data.sources.mock.photometry import half_light_radius, magnitudes
from skythaw.data.sources.mock.populations import CLASSES
from skythaw.errors import DataError

COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("ra", pa.float64()),
    ("dec", pa.float64()),
    ("run", pa.int32()),
    ("camcol", pa.int8()),
    ("field", pa.int32()),
    ("redshift", pa.float32()),
    *((f"{kind}_{band}", pa.float32()) for kind in ("psfMag", "modelMag") for band in "gri"),
    ("petroR50_r", pa.float32()),
    ("survey", pa.string()),
    ("pixel_scale", pa.float32()),
    ("psf_fwhm", pa.float32()),
)
"""Besides ``object_id``, ``label``, ``image``. Magnitudes are asinh magnitudes measured on the images, apart from the
modelMag of galaxies: the true magnitude with the noise of its measurement. ``petroR50_r`` is the half-light radius in
arcsec of the source as blurred by the atmosphere, ``psf_fwhm`` the field's FWHM in r, in arcsec."""


def make_mock(
    out: Path,
    objects: int = 1200,
    seed: int = 0,
    size: int = 64,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None,
) -> Path:
    """Render a mock survey and write it as a Parquet file of cutouts.

    Parameters
    ----------
    out
        the file to make
    objects
        how many: galaxies, quasars and stars in equal parts
    seed
        of everything random: the same seed gives the same bytes
    size
        pixels of 0.396 arcsec along an edge of a cutout
    progress
        wraps the iteration over objects, to show a bar

    Returns
    -------
    Path
        `out`

    Raises
    ------
    DataError
        A number is out of range, or GalSim is not installed.
    """
    _check(objects, seed, size)
    rows: Iterable[dict[str, Any]] = _rows(objects, seed, size)
    write_cutouts(out, rows if progress is None else progress(rows), COLUMNS, _recipe(objects, seed, size))
    return out


def _check(objects: int, seed: int, size: int) -> None:
    if objects < len(CLASSES):
        raise DataError(f"objects = {objects}: a mock survey needs at least {len(CLASSES)}, one of each class")
    if seed < 0:
        raise DataError(f"seed = {seed}: must be 0 or more")
    if not 16 <= size <= 256:
        raise DataError(f"size = {size}: must be between 16 and 256 pixels")
    if find_spec("galsim") is None:
        raise DataError("a mock survey needs GalSim, which is not installed: pip install 'skythaw[mock]'")


def _recipe(objects: int, seed: int, size: int) -> dict[str, Any]:
    packages = {name: version(name) for name in ("galsim", "astropy", "numpy", "pillow")}
    return {"source": "mock", "objects": objects, "seed": seed, "size": size, "versions": packages}


def _rows(objects: int, seed: int, size: int) -> Iterator[dict[str, Any]]:
    for number in range(-(-objects // PER_FIELD)):
        sky = Sky(seed, number)
        for own in range(min(PER_FIELD, objects - PER_FIELD * number)):
            yield _row(sky, own, size, np.random.default_rng([seed, 4, PER_FIELD * number + own]))


def _row(sky: Sky, own: int, size: int, rng: np.random.Generator) -> dict[str, Any]:
    """Everything that the file tells of an object."""
    from skythaw.data.sources.mock import render

    field, edge = sky.field, size + 2 * render.MARGIN
    placed = sky.around(own, edge / 2)
    source, light = placed[0][0], render.render(field, placed[:1], edge)
    images = render.expose(light + render.render(field, placed[1:], edge), field, rng)
    x, y = sky.places[own]
    ra, dec = field.position(x, y)
    return {
        "object_id": f"{field.run}-{field.camcol}-{field.field}-{own + 1}",
        "label": source.label,
        "image": render.cutout(images, size, (int(x) % 16, int(y) % 16)),
        "ra": ra,
        "dec": dec,
        "run": field.run,
        "camcol": field.camcol,
        "field": field.field,
        "redshift": source.redshift,
        **magnitudes(source, field, images, render.psf_images(field, edge), rng),
        "petroR50_r": half_light_radius(light[1], 10 ** (-0.4 * (source.mags[1] - 22.5))),
        "survey": "mock",
        "pixel_scale": PIXEL_SCALE,
        "psf_fwhm": field.fwhm[1],
    }
