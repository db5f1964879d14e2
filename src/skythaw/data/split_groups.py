"""Which objects stay together in a split: those of one field, of one pixel of the sky, or alike in a column."""

from __future__ import annotations

import numpy as np

from skythaw.data.cutouts import Cutouts
from skythaw.data.overlaps import FIELD, identify
from skythaw.data.part_names import parts_of
from skythaw.data.twins import merged
from skythaw.errors import DataError, SpecError, nearest
from skythaw.spec import Split

SKY = ("ra", "dec")


def groups(cutouts: Cutouts, by: str, nside: int) -> np.ndarray:
    """The group of each object, int [object]: objects of one group stay together.

    Parameters
    ----------
    cutouts
        the objects
    by
        ``field`` (run, camcol and field alike), ``healpix`` (one pixel of the sky), ``random`` (each object its own),
        or the name of a column (its value alike)
    nside
        HEALPix resolution, a power of two

    Raises
    ------
    SpecError
        The columns are not there, or `nside` is no power of two.
    DataError
        A value is missing, or a coordinate is no angle.
    """
    if by == "random":
        return np.arange(len(cutouts))
    needed = {"field": FIELD, "healpix": SKY}.get(by, (by,))
    there = cutouts.table.column_names
    if missing := [name for name in needed if name not in there]:
        raise SpecError(_missing(by, missing, there))
    for name in needed:
        if empty := cutouts.table[name].null_count:
            raise DataError(f"split.by = {by!r}: column {name!r} is empty for {empty} objects; each needs a value")
    if by == "healpix":
        return _healpix(cutouts.numbers("ra"), cutouts.numbers("dec"), nside)
    return identify([cutouts.column(name) for name in needed])


def kept_together(cutouts: Cutouts, spec: Split, twins: np.ndarray | None = None) -> np.ndarray:
    """The group of each object in a split, int [object]: what `spec.by` says, and `twins` (int [object]) as well.

    Where a column gives the parts, the groups are fields or pixels of the sky, as far as these are known.
    """
    if given_parts(cutouts, spec.by) is None:
        found = groups(cutouts, spec.by, spec.nside)
    else:
        sky = sky_groups(cutouts, spec.nside)
        found = np.arange(len(cutouts)) if sky is None else sky
    return found if twins is None else merged(found, twins)


def sky_groups(cutouts: Cutouts, nside: int) -> np.ndarray | None:
    """Fields, or else pixels of the sky, int [object]; None where neither is known of all objects."""
    for way in ("field", "healpix"):
        try:
            return groups(cutouts, way, nside)
        except (SpecError, DataError):
            continue
    return None


def given_parts(cutouts: Cutouts, by: str) -> np.ndarray | None:
    """The part of each object (``train``, ``validation``, ``test``; None where empty) as a column says, [object].

    None if there is no such column, or if it holds anything else than names of parts, or the name of one part only.
    """
    if by in ("auto", "field", "healpix", "random") or by not in cutouts.table.column_names:
        return None
    values = cutouts.column(by)
    if values.dtype != object or not all(value is None or isinstance(value, str) for value in values):
        return None
    known = parts_of(value for value in values if value is not None)
    return None if known is None else np.array([known.get(value) for value in values], dtype=object)


def _missing(by: str, missing: list[str], there: list[str]) -> str:
    text = f"split.by = {by!r}: there is no column {', '.join(missing)} (there are {', '.join(there)})"
    ways = [way for way, columns in (("field", FIELD), ("healpix", SKY)) if way != by and set(columns) <= set(there)]
    if by not in ("field", "healpix"):
        return f"{text}; {nearest(by, [*there, *ways, 'random', 'auto'])}"
    works = ", ".join([*ways, "random", "or the name of a column"])
    return f"{text}; what would work: {works}; by = 'auto' takes the first that fits the data"


def _healpix(ra: np.ndarray, dec: np.ndarray, nside: int) -> np.ndarray:
    from astropy import units
    from astropy_healpix import HEALPix

    if nside & (nside - 1):
        raise SpecError(f"split.nside = {nside} is not a power of two; 64 makes pixels of 55 arcmin")
    if not (np.isfinite(ra).all() and (np.abs(dec) <= 90).all()):
        raise DataError("split.by = 'healpix': ra and dec must be degrees, dec from -90 to 90; some are not")
    return np.asarray(HEALPix(nside=nside).lonlat_to_healpix(ra * units.deg, dec * units.deg), dtype=np.int64)
