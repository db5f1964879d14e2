"""The rows of a download's state: objects of the sky, with a checksum of what is known of each."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

UNKNOWN = (-1, -1, -1)
"""run, camcol and field where they are not known"""
SEALED = ("object_id", "source", "label", "ra", "dec", "run", "camcol", "field", "extra")
"""columns under the checksum: all but those that say what became of the object"""


@dataclass(frozen=True)
class SkyObject:
    """An object of the request."""

    object_id: str
    label: str | None
    ra: float | None
    """ICRS degrees, as all positions here"""
    dec: float | None
    source: str | None
    """the survey's name of the object, if there is another; two rows with the same `source` are one object"""
    frame: tuple[int, int, int] | None
    """run, camcol and field"""
    extra: dict[str, Any]


@dataclass(frozen=True)
class Target:
    """An object whose image is still to be fetched."""

    place: int
    object_id: str
    ra: float
    dec: float
    frame: tuple[int, int, int] | None


def as_kept(degrees: float | None) -> float | None:
    """A number as SQLite gives it back: what is no number is nothing."""
    return None if degrees is None or math.isnan(degrees) else float(degrees)


def row_sha256(values: Sequence[Any]) -> str:
    """The checksum of a row, from the values of the columns `SEALED`."""
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()


def known_frame(frame: Sequence[int]) -> tuple[int, int, int] | None:
    run, camcol, field = frame
    return None if (run, camcol, field) == UNKNOWN else (run, camcol, field)


def on_sky(ra: float | None, dec: float | None) -> bool:
    """Whether these are degrees on the sky. For others, SkyServer would send another part of the sky."""
    return ra is not None and dec is not None and 0 <= ra < 360 and -90 <= dec <= 90
