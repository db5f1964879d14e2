"""Names of bands in the names of files and of extensions: which word of a name is a band."""

from __future__ import annotations

import re
from collections.abc import Sequence

BAND = re.compile(
    r"[ugrizy]p?|[UGRIZYBVJHKLM]|Ks|[FG]\d{3,4}(?:[WMNLX]|LP)2?|W[1-4]|[NF]UV|VIS|NISP[YJH]|"
    r"(?:HSC|SDSS|DES|DECam|PS1|LSST|MegaCam|CFHT|KiDS|Bessell)(?:[ugrizy]\d?|[UGRIZYBVJHK])",
    re.ASCII,
)
SPLIT = re.compile(r"[^0-9A-Za-z]+")
SLOAN = frozenset("UGRIZY")


def words_of(name: str) -> list[str]:
    """The words of a name: what stands between signs that are neither letters nor digits."""
    return [word for word in SPLIT.split(name) if word]


def is_band(word: str) -> bool:
    """Whether a word is the usual name of a band: g, Ks, F606W, W1, NUV, HSCg ..."""
    return BAND.fullmatch(word) is not None


def band_of(name: str) -> str | None:
    """The one word of a name that is a band; None if there is none, or more than one."""
    found = {word for word in words_of(name) if is_band(word)}
    return found.pop() if len(found) == 1 else None


def as_written(bands: Sequence[str]) -> tuple[str, ...]:
    """Names of bands as they are usually written: capitals, which FITS makes of g, r, i, become small again.

    U, B, V, R and I stay, because the Johnson bands are written so.
    """
    capitals = {band.upper() for band in bands}
    if capitals <= SLOAN and capitals & {"G", "Z"}:
        return tuple(band.lower() for band in bands)
    return tuple(bands)
