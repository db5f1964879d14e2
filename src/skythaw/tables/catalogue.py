"""Join a catalogue to cutouts: by their ids, or by place on the sky."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from skythaw.data.cutouts import Cutouts
from skythaw.data.sources.column_names import DEC_NAMES, RA_NAMES, column_of
from skythaw.data.sources.rounded_ids import refuse_ruined
from skythaw.data.sources.sky_positions import Axis, read_degrees, split_name
from skythaw.data.sources.user_tables import IDS, UNIT
from skythaw.errors import DataError
from skythaw.spec import Numbers
from skythaw.tables.catalogue_files import read_catalogue
from skythaw.tables.column_kinds import NEVER, without_missing
from skythaw.tables.number_table import first_twice

AXES: tuple[Axis, Axis] = ("ra", "dec")
CLEARLY = 2.0
"""the second nearest must be so many times farther than the nearest, or the match is ambiguous"""
SHORT = re.compile(r"\d{1,6}")
"""ids that agree by chance: row numbers, and numbers within another set"""
NEAR = 60.0
"""arcsec, at least, within which two positions may be of one object, if its id says so, too"""


@dataclass(frozen=True)
class JoinReport:
    """How a catalogue and cutouts came together."""

    how: Literal["object_id", "position"]
    matched: int
    """cutouts that have a row"""
    missing: int
    """cutouts that have none"""
    ambiguous: int
    """cutouts that have none because several rows, or several cutouts, would do"""
    unused: int
    """rows of the catalogue that no cutout has"""
    placeless: int = 0
    """of the missing: cutouts without a position, where rows are found by position"""
    nowhere: int = 0
    """of the unused: rows without a position, where rows are found by position"""

    def sentence(self) -> str:
        """The report as one sentence."""
        how = "object_id" if self.how == "object_id" else "their position on the sky"
        text = f"{self.matched} of {self.matched + self.missing + self.ambiguous} cutouts have a row in the catalogue"
        text += f", found by {how}; {self.missing} have none"
        text += f" ({self.placeless} of them have no position)" if self.placeless else ""
        if self.ambiguous:
            text += f", and {self.ambiguous} have none because it is ambiguous which row is theirs"
        nowhere = f" ({self.nowhere} of them have no position)" if self.nowhere else ""
        return f"{text}. Rows of the catalogue that are not used: {self.unused}{nowhere}."


def join(path: Path, cutouts: Cutouts, settings: Numbers) -> tuple[pa.Table, JoinReport]:
    """The columns of a catalogue for each cutout, null where it has no row.

    Parameters
    ----------
    path
        CSV, ECSV, VOTable, FITS or Parquet
    cutouts
        the objects
    settings
        of which `radius` is used

    Returns
    -------
    table
        a row a cutout, in their order; its `object_id` is the cutouts'
    report

    Raises
    ------
    DataError
        It can't be read, has neither ids nor positions, the same id twice, ids that were rounded, or nothing matches
        but by chance.
    """
    catalogue = read_catalogue(path)
    if twice := first_twice(catalogue.column_names):
        raise DataError(f"{path} has two columns called {twice!r}")
    row, tried = _by_id(catalogue, cutouts, settings, path)
    if row is not None:
        matched = int((row >= 0).sum())
        report = JoinReport("object_id", matched, len(row) - matched, 0, catalogue.num_rows - matched)
        return _rows(catalogue, row, cutouts), report
    row, report = _by_position(catalogue, cutouts, settings, path, tried)
    return _rows(catalogue, row, cutouts), report


def _rows(catalogue: pa.Table, row: np.ndarray, cutouts: Cutouts) -> pa.Table:
    """The rows of the catalogue for the cutouts, null where `row` is -1."""
    joined = catalogue.take(pa.array(row, mask=row < 0))
    own = pa.array(cutouts.object_ids, pa.string())
    if "object_id" in joined.column_names:
        return joined.set_column(joined.column_names.index("object_id"), "object_id", own)
    return joined.append_column("object_id", own)


def _by_id(catalogue: pa.Table, cutouts: Cutouts, settings: Numbers, path: Path) -> tuple[np.ndarray | None, str]:
    """The row of the catalogue for each cutout, by the first column of ids that has theirs; None if none has, and why.

    Ids that may agree by chance are none.
    """
    names, faults = _id_columns(catalogue), list[DataError]()
    tried = f"none of its {names[0]} is the object_id of a cutout" if names else "it has no column of ids"
    tried, wanted = (
        f"{tried} (such as {cutouts.object_ids[0]!r})",
        {each: row for row, each in enumerate(cutouts.object_ids)},
    )
    for name in names:
        try:
            ids = _ids(catalogue[name], name, path)
        except DataError as error:
            faults.append(error)
            continue
        found = np.full(len(cutouts), -1, dtype=np.int64)
        for row, each in enumerate(ids):
            if each in wanted:
                if found[wanted[each]] >= 0:
                    raise DataError(f"{path}: {name} {each!r} is in two rows; every object should have one row")
                found[wanted[each]] = row
        if (found >= 0).any():
            if not (doubt := _doubt(catalogue, cutouts, found, settings)):
                return found, ""
            tried = f"its {name} is that of {doubt}"
    if faults:
        hint = "; or remove the column, and rows are found by ra and dec" if _places(catalogue) else ""
        raise DataError(f"{faults[0]}{hint}")
    return None, tried


def _doubt(catalogue: pa.Table, cutouts: Cutouts, row: np.ndarray, settings: Numbers) -> str:
    """Why ids may agree by chance, in words; empty if they do not.

    Only short numbers do. Where positions are known, these decide; else half of the cutouts or rows must match.
    """
    found = np.flatnonzero(row >= 0)
    ids = [cutouts.object_ids[each] for each in found]
    if not all(map(SHORT.fullmatch, ids)):
        return ""
    said = f"{len(ids)} of {len(cutouts)} cutouts (such as {ids[0]!r})"
    apart = _apart(catalogue, cutouts, row, found)
    if len(apart):
        near = int((apart <= max(NEAR, settings.radius)).sum())
        lie = f"{said}, of which {len(apart) - near} lie elsewhere on the sky"
        return "" if 2 * near >= len(apart) else f"{lie}, as where short numbers agree by chance"
    enough = 2 * len(ids) >= min(len(cutouts), catalogue.num_rows)
    return "" if enough else f"only {said}, as where short numbers agree by chance"


def _apart(catalogue: pa.Table, cutouts: Cutouts, row: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How far the cutouts `found` are from their rows, arcsec; only of those whose two positions are known."""
    from astropy.coordinates import angular_separation

    places = _places(catalogue)
    if not places or not {*AXES} <= {*cutouts.table.column_names}:
        return np.empty(0)
    with suppress(DataError):
        theirs = [
            _degrees(catalogue, column, axis, Path())[row[found]] for column, axis in zip(places, AXES, strict=True)
        ]
        ours = [_own_degrees(cutouts, axis)[found] for axis in AXES]
        apart = np.rad2deg(angular_separation(*np.deg2rad([*ours, *theirs]))) * 3600
        return np.asarray(apart[np.isfinite(apart)])
    return np.empty(0)


def _id_columns(catalogue: pa.Table) -> list[str]:
    places = [column_of(catalogue.column_names, [name]) for name in IDS]
    return [catalogue.column_names[place] for place in places if place is not None]


def _ids(values: pa.ChunkedArray, name: str, path: Path) -> list[str]:
    """Ids as text; refused are those that have lost digits."""
    if pa.types.is_floating(values.type):
        raise DataError(
            f"{path}: the ids in column {name!r} are decimal numbers, which lose digits; make the column text"
        )
    ids = [(text or "").strip() for text in values.cast(pa.string()).to_pylist()]
    refuse_ruined(path, name, ids)
    return ids


def _by_position(
    catalogue: pa.Table, cutouts: Cutouts, settings: Numbers, path: Path, tried: str
) -> tuple[np.ndarray, JoinReport]:
    """The row of each cutout as `match_positions` finds it; refused where there is no position, or nothing matches."""
    failed = f"{path} can't be joined to {cutouts.paths[0]}: {tried}"
    places = _places(catalogue)
    if not places:
        there = ", ".join(catalogue.column_names[:20])
        raise DataError(f"{failed}, and it has no position; give it object_id, or ra and dec; it has {there}")
    if lost := [each for each in ("ra", "dec") if each not in cutouts.table.column_names]:
        raise DataError(f"{failed}, and the cutouts have no {' and no '.join(lost)}")
    theirs = np.stack([_degrees(catalogue, column, axis, path) for column, axis in zip(places, AXES, strict=True)])
    ours = np.stack([_own_degrees(cutouts, axis) for axis in AXES])
    row, ambiguous = match_positions(ours, theirs, settings.radius)
    if not ambiguous and not (row >= 0).any():
        raise DataError(
            f"{failed}, and no row lies within {settings.radius:g} arcsec of a cutout: are these the same objects, "
            "with positions in degrees (ICRS)?"
        )
    matched = int((row >= 0).sum())
    missing, unused = len(row) - matched - ambiguous, catalogue.num_rows - matched
    without = [int((~np.isfinite(side).all(0)).sum()) for side in (ours, theirs)]
    return row, JoinReport("position", matched, missing, ambiguous, unused, *without)


def _own_degrees(cutouts: Cutouts, axis: Axis) -> np.ndarray:
    """Positions of the cutouts in degrees, not finite where there is none."""
    values = without_missing(cutouts.numbers(axis), "number")
    if axis == "dec" and (bad := np.isfinite(values) & (np.abs(values) > 90)).any():
        raise DataError(f"{cutouts.paths[0]}: column 'dec' holds {values[bad][0]:g}, which is no angle in degrees")
    return values


def _places(catalogue: pa.Table) -> list[str]:
    """The columns of right ascension and declination; none unless both are there."""
    plain = [split_name(name)[0] for name in catalogue.column_names]
    at = [column_of(plain, names) for names in (RA_NAMES, DEC_NAMES)]
    return [] if None in at else [catalogue.column_names[place] for place in at if place is not None]


def _degrees(catalogue: pa.Table, name: str, axis: Axis, path: Path) -> np.ndarray:
    """Positions in degrees, NaN where there is none; sexagesimal ones and other units are converted."""
    unit = ((catalogue.schema.field(name).metadata or {}).get(UNIT) or b"").decode() or split_name(name)[1]
    try:
        found = read_degrees([None if _is_never(each) else each for each in catalogue[name].to_pylist()], axis, unit)
    except ValueError as error:
        raise DataError(f"{path}: column {name!r} should hold positions: {error.args[-1]}") from None
    values = np.array([np.nan if value is None else value for value in found])
    largest = 90 if axis == "dec" else 360
    if (bad := np.abs(values) > largest).any():
        raise DataError(f"{path}: column {name!r} holds {values[bad][0]:g}, which is no angle in degrees")
    return values


def _is_never(value: object) -> bool:
    """Whether a number or text stands for a missing value in any column."""
    try:
        return float(value) in NEVER  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def match_positions(ours: np.ndarray, theirs: np.ndarray, radius: float) -> tuple[np.ndarray, int]:
    """The catalogue's row that belongs to each cutout: nearest within the radius, one to one.

    Where the second nearest of either side is not clearly farther than the nearest, nothing is matched. Where it is,
    the nearest cutout has the row, and the other has none.

    Parameters
    ----------
    ours, theirs
        degrees (ICRS), float64 [(ra, dec) object]; NaN is nowhere
    radius
        arcsec

    Returns
    -------
    row, ambiguous
        int [cutout], -1 where there is none; and how many cutouts have none because it is ambiguous
    """
    from astropy import units
    from astropy.coordinates import SkyCoord, search_around_sky

    found = np.full(ours.shape[1], -1, dtype=np.int64)
    rows = [np.flatnonzero(np.isfinite(side).all(0)) for side in (ours, theirs)]
    if not len(rows[0]) or not len(rows[1]):
        return found, 0
    sky = [SkyCoord(*side[:, row], unit="deg") for side, row in zip((ours, theirs), rows, strict=True)]
    a, b, apart, _ = search_around_sky(*sky, radius * units.arcsec)
    a, b, apart = rows[0][a], rows[1][b], apart.arcsec
    nearest = _clearly_nearest(a, apart)
    unclear = set(a.tolist()) - set(a[nearest].tolist())
    a, b, apart = a[nearest], b[nearest], apart[nearest]
    chosen = _clearly_nearest(b, apart)
    disputed = ~np.isin(b, b[chosen])
    found[a[chosen]] = b[chosen]
    return found, len(unclear) + int(disputed.sum())


def _clearly_nearest(group: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Places of the nearest pair of each group; none of a group whose second nearest is not clearly farther."""
    order = np.lexsort((apart, group))
    group, apart = group[order], apart[order]
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]][: len(group)])
    second = np.minimum(first + 1, max(0, len(group) - 1))
    alone = (second == first) | (group[second] != group[first])
    return order[first[alone | (apart[second] > CLEARLY * apart[first])]]
