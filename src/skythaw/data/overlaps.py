"""Which cutouts show the same piece of sky."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skythaw.data.cutouts import Cutouts, is_number
from skythaw.data.decode import BrokenImageError, probe
from skythaw.data.image_form import Form

PIXEL_SCALE = 0.4
"""arcsec per pixel, where no column `pixel_scale` says"""

FIELD = ("run", "camcol", "field")
CHUNK = 1024
ARCSEC = np.pi / 180 / 3600


def basis_of(cutouts: Cutouts) -> str | None:
    """What tells that cutouts overlap: ``coordinates`` (ra, dec: numbers), ``field`` (run, camcol, field), or None."""
    there = set(cutouts.table.column_names)
    if there >= {"ra", "dec"} and all(is_number(cutouts.table[name].type) for name in ("ra", "dec")):
        return "coordinates"
    return "field" if there >= set(FIELD) else None


def overlapping(cutouts: Cutouts, part: np.ndarray, size: int | None = None) -> np.ndarray:
    """Which cutouts share sky with one in another part.

    With coordinates, two square cutouts overlap if their centres are nearer than a width both in right ascension
    (times cos dec) and in declination; otherwise, those of one field count as overlapping.

    Parameters
    ----------
    cutouts
        all of them
    part
        int [object], the part each belongs to; those with a negative one are left out
    size
        pixels, the width of a cutout; None reads it from the first image

    Returns
    -------
    numpy.ndarray
        bool [object]; all False where neither coordinates nor fields are known
    """
    touched = np.zeros(len(cutouts), dtype=bool)
    basis = basis_of(cutouts)
    if basis == "coordinates":
        for left, right in sky_pairs(cutouts, part >= 0, size):
            apart = part[left] != part[right]
            touched[left[apart]] = touched[right[apart]] = True
    elif basis == "field":
        rows = np.flatnonzero(part >= 0)
        fields = identify([cutouts.column(name)[rows] for name in FIELD])
        pairs = np.unique(np.stack([fields, part[rows]]), axis=1)
        touched[rows] = np.bincount(pairs[0], minlength=1)[fields] > 1
    return touched


def sky_pairs(cutouts: Cutouts, chosen: np.ndarray, size: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of `chosen` cutouts (bool [object]) that overlap on the sky, each once, some thousand at a time.

    Offsets are measured along east and north at the first of the two: right ascension may wrap, a pole may be near.
    Objects without finite coordinates overlap with none.

    Yields
    ------
    left, right
        rows, int [pair]; left < right
    """
    from scipy.spatial import cKDTree

    ra, dec = (np.radians(cutouts.numbers(name)) for name in ("ra", "dec"))
    rows = np.flatnonzero(chosen & np.isfinite(ra) & np.isfinite(dec))
    if len(rows) < 2:
        return
    ra, dec, width = ra[rows], dec[rows], _widths(cutouts, size)[rows] * ARCSEC
    position = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=1)
    tree = cKDTree(position)
    for start in range(0, len(rows), CHUNK):
        near = tree.query_ball_point(position[start : start + CHUNK], np.sqrt(2) * width.max())
        left = np.repeat(np.arange(start, start + len(near)), [len(each) for each in near])
        right = np.concatenate([np.asarray(each, dtype=int) for each in near])
        left, right = left[left < right], right[left < right]
        offset = position[right] - position[left]
        reach = (width[left] + width[right]) / 2
        inside = (np.abs((offset * east[left]).sum(1)) < reach) & (np.abs((offset * north[left]).sum(1)) < reach)
        yield rows[left[inside]], rows[right[inside]]


def identify(columns: list[np.ndarray]) -> np.ndarray:
    """A number for each row, int [object], from 0 on: equal where all columns are equal."""
    ids = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        is_text = column.dtype == object  # nulls are alike
        values = np.array(["" if value is None else str(value) for value in column]) if is_text else column
        _, code = np.unique(values, return_inverse=True)
        _, ids = np.unique(ids * (code.max(initial=0) + 1) + code, return_inverse=True)
    return ids


def _widths(cutouts: Cutouts, size: int | None) -> np.ndarray:
    """Width of each cutout, arcsec [object]."""
    scale = np.full(len(cutouts), PIXEL_SCALE)
    if "pixel_scale" in cutouts.table.column_names:
        given = cutouts.numbers("pixel_scale")
        scale = np.where(given > 0, given, scale)
    return scale * (max(first_size(cutouts)) if size is None else size)


def first_size(cutouts: Cutouts) -> tuple[int, int]:
    """Height and width of the first image that can be read, pixels; 0, 0 if none can."""
    form = first_form(cutouts)
    return form.size if form else (0, 0)


def first_form(cutouts: Cutouts) -> Form | None:
    """Size, bands and type of the first image whose header can be read."""
    return next(forms_of(cutouts), None)


def forms_of(cutouts: Cutouts) -> Iterator[Form]:
    """Size, bands and type of each image whose header can be read; nothing is decoded."""
    for name, data, _ in cutouts.images():
        try:
            yield probe(data, name)
        except BrokenImageError:
            continue
