"""Positions on the sky as tables write them, read as degrees: as `astropy.coordinates.Angle` reads them.

Known are decimal numbers (with a decimal point or comma), sexagesimal numbers (``12:34:56.7``, ``12 34 56.7``,
``12h34m56.7s``, ``-01d02m03s``), and units of astropy. A sexagesimal right ascension is in hours, unless its unit says
degrees or it is written with a ``d``.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

Axis = Literal["ra", "dec"]
DECIMAL = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?")
UNIT_IN_NAME = re.compile(r"[\s_]*[\[(]\s*([^\[\]()]+?)\s*[\])]\s*$")
"""as in ``RA (deg)``"""
HOURS, DEGREES = ("h", "hour", "hours", "hourangle", "hms", "h:m:s"), ("", "deg", "degree", "degrees", "dms", "d:m:s")
MISSING = ("", "nan", "null", "none", "n/a", "na", "-", "--")
LEAST_ROWS = 3
"""positions below which nothing is suspected"""


def split_name(name: str) -> tuple[str, str]:
    """The name of a column, and the unit that stands behind it in brackets."""
    if name.strip().lower() == "ra_hours":
        return name.strip(), "hours"
    found = UNIT_IN_NAME.search(name)
    return (name[: found.start()].strip(), found[1]) if found else (name.strip(), "")


def read_degrees(values: Sequence[Any], axis: Axis, unit: str = "") -> list[float | None]:
    """Positions in degrees; None where a value is missing or no finite number.

    Parameters
    ----------
    values
        numbers or texts
    axis
        ``ra`` or ``dec``
    unit
        of the numbers: one of astropy's, or as VizieR writes it (``"h:m:s"``); empty: degrees

    Raises
    ------
    ValueError
        A value is no angle, or decimal and sexagesimal numbers stand in one column; `args[0]` is its row.
    """
    unit = unit.strip().strip('"').lower()
    scale = _scale(unit)
    found: list[float | None] = []
    first: dict[bool, int] = {}
    for row, value in enumerate(values):
        text = value.strip().replace("\u2212", "-") if isinstance(value, str) else value
        if text is None or (isinstance(text, str) and text.lower() in MISSING):
            found.append(None)
            continue
        decimal = not isinstance(text, str) or DECIMAL.fullmatch(text) is not None
        first.setdefault(decimal, row)
        if decimal:
            number = scale * float(text.replace(",", ".") if isinstance(text, str) else text)
        else:
            number = _angle(row, text, axis, unit)
        found.append(number if math.isfinite(number) else None)
    if len(first) == 2:
        row = first[False]
        raise ValueError(row, f"{values[row]!r}, because other rows hold decimal numbers")
    return found


def are_plain(values: Sequence[Any], unit: str = "") -> bool:
    """Whether all values are decimal numbers without a unit but degrees."""
    decimal = (not isinstance(value, str) or not value or DECIMAL.fullmatch(value.strip()) for value in values)
    return unit.strip().strip('"').lower() in DEGREES and all(decimal)


class PositionCheck:
    """Wraps right ascensions to 0..360, and tells what is suspicious of all positions that went through it."""

    def __init__(self, degrees: bool = True) -> None:
        self._degrees = degrees
        """whether right ascensions were plain numbers of degrees, which may as well have been hours"""
        self._rows = self._wrapped = self._zeros = self._steep = 0
        self._low, self._high, self._tilt = math.inf, -math.inf, 0.0

    def wrap(self, ra: Sequence[float | None], dec: Sequence[float | None]) -> list[float | None]:
        """Right ascensions from 0 to 360; those further out than one turn stay as they are."""
        kept = []
        for one, other in zip(ra, dec, strict=True):
            new = one % 360 if one is not None and (-360 <= one < 0 or 360 <= one < 720) else one
            kept.append(0.0 if new == 360 else new)  # what is just below zero, rounded
            self._wrapped += new != one
            if one is None or other is None:
                continue
            self._rows += 1
            self._zeros += one == 0 and other == 0
            self._steep += abs(other) > 90
            self._low, self._high = min(self._low, one), max(self._high, one)
            self._tilt = max(self._tilt, abs(one))
        return kept

    @property
    def changed(self) -> dict[str, int]:
        """What was done, and to how many."""
        return {"right ascension wrapped to 0..360": self._wrapped} if self._wrapped else {}

    @property
    def swapped(self) -> bool:
        """Whether right ascension and declination look swapped."""
        return self._steep > 0 and self._tilt <= 90

    @property
    def notes(self) -> list[str]:
        """What is suspicious, in whole sentences."""
        found = []
        if self._wrapped:
            found.append(f"{self._wrapped} right ascensions lay outside 0..360 degrees and were wrapped")
        if self.swapped:
            found.append("ra and dec look swapped: declinations lie beyond 90 degrees, no right ascension does")
        elif (
            self._degrees
            and self._rows >= LEAST_ROWS
            and self._low >= 0
            and self._high <= 24
            and self._high - self._low > 1
        ):
            found.append(
                "all right ascensions lie within 24; they are taken as degrees. If they are hours, call the column "
                "ra_hours"
            )
        if self._zeros > 1:
            found.append(f"{self._zeros} objects lie at ra = 0, dec = 0; is their position missing?")
        return found


@lru_cache(maxsize=64)
def _scale(unit: str) -> float:
    """Degrees in one unit."""
    if unit in DEGREES:
        return 1.0
    if unit in HOURS:
        return 15.0
    from astropy import units

    try:
        return float(units.Unit(unit).to(units.deg))
    except (ValueError, TypeError, units.UnitsError):
        raise ValueError(0, f"values in {unit!r}, which is no unit of an angle") from None


def _angle(row: int, text: str, axis: Axis, unit: str) -> float:
    """A sexagesimal angle in degrees, as astropy reads it."""
    from astropy import units
    from astropy.coordinates import Angle

    hours = axis == "ra" and (unit in HOURS or unit == "")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(Angle(text.replace(",", "."), unit=units.hourangle if hours else units.deg).deg)
    except Exception:  # astropy raises many kinds of errors on a text that is no angle
        raise ValueError(row, repr(text)) from None
