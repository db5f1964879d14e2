"""Which columns are one quantity in several bands: modelMag_u and modelMag_g are a family, and so are u, g, r, i, z."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BANDS = ("u", "g", "r", "i", "z", "y", "J", "H", "K")
"""by wavelength"""
GLUED = re.compile(
    r"(?:(?P<band>[ugrizyjhk])(?P<after>mag|flux)|(?P<before>mag|flux)(?P<last>[ugrizyjhk]))", re.IGNORECASE
)


@dataclass(frozen=True)
class Family:
    """Columns that differ in their band alone."""

    pattern: str
    """the name with ``*`` for the band"""
    columns: tuple[str, ...]
    """from blue to red"""


def families_of(names: Sequence[str]) -> list[Family]:
    """The families of at least two columns, in the order in which they appear; no column is in two."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        if place := band_of(name):
            pattern, band = place
            found.setdefault(pattern, {}).setdefault(band, name)
    return [
        Family(pattern, tuple(members[band] for band in BANDS if band in members))
        for pattern, members in found.items()
        if len(members) > 1
    ]


def band_of(name: str) -> tuple[str, str] | None:
    """A name with ``*`` for its band, and the band; None if no band stands in it as a word of its own."""
    if glued := GLUED.fullmatch(name):
        band = glued["band"] or glued["last"]
        return f"{(glued['before'] or '').lower()}*{(glued['after'] or '').lower()}", _canonical(band)
    words = re.split(r"([^A-Za-z0-9]+)", name)
    for place in reversed(range(0, len(words), 2)):
        if len(words[place]) == 1 and _canonical(words[place]) in BANDS:
            return "".join([*words[:place], "*", *words[place + 1 :]]), _canonical(words[place])
    return None


def _canonical(band: str) -> str:
    return band.upper() if band.upper() in BANDS else band.lower()
