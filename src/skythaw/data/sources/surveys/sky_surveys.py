"""The surveys that have a short name here, and how each is called by the service that cuts its images out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skythaw.errors import UnknownNameError

LAYER = "legacy:"
"""before the name of a layer of the Legacy Survey viewer that has no short name here"""


@dataclass(frozen=True)
class SkySurvey:
    """A survey, at a service."""

    name: str
    service: str
    """``hips2fits`` or ``legacy``"""
    color: str | None
    """what the service calls its images of three colours; None: it has none"""
    scale: float | None
    """arcsec per pixel of its own images, or about as many; None: not known here"""
    bands: Mapping[str, str] = field(default_factory=dict)
    """each band that it has as FITS images, and what the service calls it"""
    known: bool = True
    """whether it is in the table; the service has to be asked for others"""


def _hips(name: str, color: str, scale: float, *bands: str) -> SkySurvey:
    """A survey of CDS, whose bands are beside its colour images."""
    home = color.rpartition("/")[0]
    return SkySurvey(name, "hips2fits", color, scale, {band: f"{home}/{band}" for band in bands})


def _layer(name: str, scale: float, bands: str) -> SkySurvey:
    """A layer of the Legacy Survey viewer."""
    return SkySurvey(name, "legacy", name, scale, dict.fromkeys(bands, name))


SURVEYS = {
    each.name: each
    for each in (
        _layer("ls-dr9", 0.262, "grz"),
        _layer("ls-dr10", 0.262, "griz"),
        _hips("panstarrs", "CDS/P/PanSTARRS/DR1/color-i-r-g", 0.25, *"grizy"),
        _hips("des-dr2", "CDS/P/DES-DR2/ColorIRG", 0.263, *"griz"),
        _hips("sdss9", "CDS/P/SDSS9/color", 0.396, *"ugriz"),
        _hips("dss2", "CDS/P/DSS2/color", 1.0, "red", "blue"),
        _hips("2mass", "CDS/P/2MASS/color", 1.0, *"JHK"),
        _hips("allwise", "CDS/P/allWISE/color", 1.375, "W1", "W2", "W3", "W4"),
        _hips("galex", "CDS/P/GALEXGR6_7/color", 1.5, "FUV", "NUV"),
    )
}
SDSS = {
    "legacy": _layer("sdss", 0.396, "gri"),
    "hips2fits": SURVEYS["sdss9"],
}
"""SDSS at each service that is not its own"""


def find_survey(name: str) -> SkySurvey:
    """The survey of a name: one of the table, ``legacy:LAYER``, or the identifier of a HiPS as ``CDS/P/DSS2/red``.

    Raises
    ------
    UnknownNameError
        There is none; the message names the nearest one.
    """
    if found := SURVEYS.get(name.lower()):
        return found
    if name.startswith(LAYER) and name != LAYER:
        return SkySurvey(name, "legacy", name.removeprefix(LAYER), None, known=False)
    for each in SURVEYS.values():
        if name in (each.color, *each.bands.values()) and each.service == "hips2fits":
            bands = {band: called for band, called in each.bands.items() if called == name}
            return each if name == each.color else SkySurvey(name, each.service, None, each.scale, bands)
    if name.count("/") >= 2:
        return SkySurvey(name, "hips2fits", name, None, {name.rpartition("/")[2]: name}, known=False)
    raise UnknownNameError.among("survey", name, SURVEYS)


def known_names() -> set[str]:
    """Every name that `find_survey` knows without asking, identifiers included."""
    return {*SURVEYS, *(each for one in SURVEYS.values() for each in (one.color, *one.bands.values()) if each)}
