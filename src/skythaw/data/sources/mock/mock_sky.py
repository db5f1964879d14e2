"""Where things are in the mock sky: fields of a drift-scan survey, how each was observed, and the sources in them.

Everything about a field depends on the seed and its number, everything about an object on the seed and its number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skythaw.data.sources.mock import populations
from skythaw.data.sources.mock.mock_source import Source
from skythaw.data.sources.mock.populations import CLASSES

Floats = NDArray[np.float64]
Placed = tuple[Source, float, float]
"""a source and its offset from the centre of a cutout in pixels (x to the west, y to the north)"""

PIXEL_SCALE = 0.396
"""arcsec per pixel (Gunn et al. 1998)"""
PER_FIELD = 8
"""objects of a field; the classes take turns"""
FRAME = (1361, 2048)
"""pixels of a field, along right ascension (the part that no other field has) and declination: 9 by 13.5 arcmin"""
FIRST_RUN, FIRST_FIELD, FIELDS_PER_CAMCOL = 9000, 11, 400
STRIPE = (150.0, -1.05)
"""degrees, right ascension and declination where the survey starts: the north galactic cap on the equator"""
COLUMN_STEP = 0.4195
"""degrees between neighbouring camera columns; the next run fills the gap between them (York et al. 2000)"""

# Median seeing in g, r, i, arcsec, as the SDSS data release pages state it; field to field about 10 % (approximate).
SEEING, SEEING_SPREAD = (1.44, 1.32, 1.26), 0.10
# Sky in g, r, i, mag per square arcsec: typical dark sky at Apache Point, and its spread between fields (approximate).
SKY, SKY_SPREAD = (21.9, 20.9, 20.25), 0.12
# Error of the sky subtraction, share of the sky: our own fit to the background of the DR16 cutouts.
SKY_ERROR = 0.0015
# Nanomaggies per count of a 53.9 s exposure: typical NMGY values of SDSS frame headers (approximate).
CALIBRATION = (0.0037, 0.0048, 0.0066)
# Electrons per count, and variance of dark current and read noise in counts squared, in g, r, i per camera column: SDSS
# data model, page "frame" (BOSS_PHOTOOBJ).
GAIN = ((3.32, 4.71, 5.165), (3.855, 4.6, 6.565), (3.845, 4.72, 4.86), (3.995, 4.76, 4.885), (4.05, 4.725, 4.64),
        (4.035, 4.895, 4.76))  # fmt: skip
DARK = ((15.6025, 1.8225, 7.84), (1.44, 1.00, 5.76), (1.3225, 1.3225, 4.6225), (1.96, 1.3225, 6.25),
        (1.1025, 0.81, 7.84), (1.8225, 0.9025, 5.0625))  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One SDSS-like field of 13.5 by 9 arcmin, and how it was observed."""

    run: int
    camcol: int
    field: int
    ra: float
    """degrees, of the centre"""
    dec: float
    """degrees, of the centre"""
    fwhm: tuple[float, ...]
    """arcsec, in g, r, i"""
    sky: tuple[float, ...]
    """nmgy per pixel, in g, r, i"""
    sky_error: tuple[float, ...]
    """nmgy per pixel left after sky subtraction, in g, r, i"""

    @property
    def noise(self) -> Floats:
        """nmgy: standard deviation of an empty pixel, in g, r, i."""
        counts = np.array(self.sky) / CALIBRATION
        return np.sqrt(counts / GAIN[self.camcol - 1] + DARK[self.camcol - 1]) * CALIBRATION

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Right ascension and declination in degrees of a place in pixels; x grows to the west."""
        step = PIXEL_SCALE / 3600
        dec = self.dec + (y - FRAME[1] / 2) * step
        ra = self.ra - (x - FRAME[0] / 2) * step / np.cos(np.radians(dec))
        return float(ra % 360), float(dec)


def make_field(seed: int, number: int) -> Field:
    """The field of a number: the six camera columns take turns, then comes the next of the scan, then the next run."""
    rng = np.random.default_rng([seed, 0, number])
    along, column = divmod(number, 6)
    run, along = divmod(along, FIELDS_PER_CAMCOL)
    # Two runs make a stripe of 2.5 degrees; stripes go north until the pole is near, and start again.
    dec = STRIPE[1] + column * COLUMN_STEP + (run % 2) * COLUMN_STEP / 2 + (run // 2 % 24) * 2.5
    ra = STRIPE[0] + along * FRAME[0] * PIXEL_SCALE / 3600 / np.cos(np.radians(dec))
    seeing = np.exp(rng.normal(0, SEEING_SPREAD) + rng.normal(0, 0.02, 3)) * SEEING
    sky = 10 ** (-0.4 * (np.array(SKY) + rng.normal(0, SKY_SPREAD, 3) - 22.5)) * PIXEL_SCALE**2
    return Field(
        run=FIRST_RUN + run,
        camcol=column + 1,
        field=FIRST_FIELD + along,
        ra=float(ra % 360),
        dec=float(dec),
        fwhm=tuple(float(each) for each in seeing),
        sky=tuple(float(each) for each in sky),
        sky_error=tuple(float(each) for each in sky * rng.normal(0, SKY_ERROR, 3)),
    )


class Sky:
    """A field, its catalogued objects, and the sources around them."""

    def __init__(self, seed: int, number: int) -> None:
        self.seed, self.number = seed, number
        self.field = make_field(seed, number)
        rng = np.random.default_rng([seed, 1, number])
        self.places = rng.random((PER_FIELD, 2)) * FRAME
        """pixels, x and y"""
        first = PER_FIELD * number
        self.objects = [
            populations.DRAW[CLASSES[i % len(CLASSES)]](np.random.default_rng([seed, 2, i]))
            for i in range(first, first + PER_FIELD)
        ]
        area = FRAME[0] * FRAME[1] * (PIXEL_SCALE / 60) ** 2
        self._mags, self._stars = populations.draw_background(rng, area)
        self._places = rng.random((len(self._mags), 2)) * FRAME

    def around(self, own: int, reach: float) -> list[Placed]:
        """The sources within `reach` pixels of an object of the field (farther, if bright); the object comes first."""
        centre = self.places[own]
        found: list[Placed] = [(self.objects[own], 0.0, 0.0)]
        for other, (x, y) in enumerate(self.places - centre):
            if other != own and max(abs(x), abs(y)) < reach + 60:
                found.append((self.objects[other], float(x), float(y)))
        offsets = self._places - centre
        near = np.abs(offsets).max(axis=1) < reach + 12 + 12 * np.clip(20 - self._mags, 0, None)
        for k in np.flatnonzero(near):
            rng = np.random.default_rng([self.seed, 3, self.number, int(k)])
            source = populations.draw_neighbour(rng, float(self._mags[k]), bool(self._stars[k]))
            found.append((source, float(offsets[k, 0]), float(offsets[k, 1])))
        return found
