"""What a column of numbers holds (magnitudes, fluxes, ...), which of its values are missing, and what it becomes.

A kind is a short text, so that it can be written into a file: ``magnitude``, ``luptitude``, ``number``, or
``flux/1.0``, where the number is the softening, in the unit of the flux.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from skythaw.errors import DataError
from skythaw.tables.band_families import Family, band_of

FAINTEST, BRIGHTEST = 35.0, 5.0
"""magnitudes of what is seen in surveys lie between them"""
NEVER = (-9999.0, -999.0)
"""stand for a missing value in any column"""
NO_MAGNITUDE = (-99.0, 99.0, 99.99, 99.999, 999.0, 9999.0)
"""stand for a missing value among magnitudes"""
NO_FLUX = (0.0, 9999.0)
NAMED_FLUX = re.compile(r"flux|nmgy|maggies", re.IGNORECASE)
NAMED_MAGNITUDE = re.compile(r"(?<![a-z])mag(?![a-z])|(?<=[a-z])Mag(?![a-z])|^[ugrizyjhk]mag$", re.IGNORECASE)
NAMED_LUPTITUDE = re.compile(r"lupt|asinh_?mag", re.IGNORECASE)
NAMED_ERROR = re.compile(r"err|ivar|sigma|^e_|snr|flag", re.IGNORECASE)
PLURAL = {"magnitude": "magnitudes", "flux": "fluxes"}
ALIKE = -0.5
"""rank correlation of two columns of a family below which one of them rises where the other falls"""


def kind_of(name: str, values: np.ndarray, declared: str | None = None) -> str:
    """What a column holds, by its declared unit (`declared_kind`), its name, and its values, float64 [object]."""
    plain = without_missing(values, "number")
    if NAMED_ERROR.search(name):
        return "number"
    if declared == "flux" or (declared is None and NAMED_FLUX.search(name)):
        return _flux(values)
    if not like_magnitudes(without_missing(values, "magnitude")):
        return _flux(values) if not declared and NAMED_MAGNITUDE.search(name) and _like_fluxes(plain) else "number"
    if NAMED_LUPTITUDE.search(name):
        return "luptitude"
    return "magnitude" if declared or NAMED_MAGNITUDE.search(name) or band_of(name) in _BARE else "number"


_BARE = {("*", band) for band in "ugrizyJHK"}


def without_missing(values: np.ndarray, kind: str) -> np.ndarray:
    """The values with NaN for those that stand for a missing one, in columns of a kind."""
    kind = kind.partition("/")[0]
    more = {"magnitude": NO_MAGNITUDE, "luptitude": NO_MAGNITUDE, "flux": NO_FLUX}.get(kind, ())
    missing = np.zeros(len(values), dtype=bool)
    for value in (*NEVER, *more):
        missing |= np.isclose(values, value, rtol=1e-6, atol=0)
    return np.where(missing, np.nan, values)


def numbers_of(values: np.ndarray, kind: str, extinction: np.ndarray | None) -> np.ndarray:
    """What a model gets, float64 [object]: magnitudes, or fluxes compressed like asinh magnitudes.

    Parameters
    ----------
    values
        without those that stand for a missing one
    kind
        of the column
    extinction
        magnitudes, or None
    """
    softening = kind.partition("/")[2]
    if not softening:
        return values if extinction is None else values - extinction
    flux = values if extinction is None else values * 10 ** (0.4 * extinction)
    return -2.5 / math.log(10) * np.arcsinh(flux / (2 * float(softening)))


def plain_values(values: np.ndarray, kind: str) -> np.ndarray:
    """The inverse of `numbers_of` without extinction: the values in the unit of the column."""
    softening = kind.partition("/")[2]
    return -2 * float(softening) * np.sinh(values * math.log(10) / 2.5) if softening else values


def require_one_unit(family: Family, kinds: Mapping[str, str], values: Mapping[str, np.ndarray], where: str) -> None:
    """Raise `DataError` if some columns of a family hold magnitudes and others fluxes, or neither.

    One that has nothing to do with the others, as a pixel `y` beside g, r and i, is called the column to blame.
    """
    groups: dict[str, str] = {}
    for name in family.columns:
        groups.setdefault(_unit(kinds[name]), name)
    if len(groups) > 1:
        said = {name: f"{name!r} {_looks(kinds[name])} (median {_median(values[name])})" for name in family.columns}
        described = [said[name] for name in groups.values()]
        if lone := _lone(family, kinds, values):
            described = [f"column {said[lone]}", *(said[name] for unit, name in groups.items() if unit != "number")]
        raise DataError(
            f"{where}: the units of {', '.join(family.columns)} are mixed up, or can't be told: "
            f"{', but '.join(described)}; give all of them in one unit, and fluxes by names such as flux_g or in a "
            "file that declares the unit"
        )
    for name in family.columns:
        falls = [other for other in family.columns if _correlation(values[name], values[other]) < ALIKE]
        rises = [other for other in family.columns if other not in falls]
        if falls and all(_correlation(values[a], values[b]) < ALIKE for a in rises for b in falls):
            few = min((rises, falls), key=len)
            what = f"{few[0]!r} falls" if len(few) == 1 else f"{' and '.join(map(repr, few))} fall"
            raise DataError(
                f"{where}: the units of {', '.join(family.columns)} are mixed up: {what} where the others rise, as "
                "magnitudes do beside fluxes; give all of them in one unit"
            )


def _lone(family: Family, kinds: Mapping[str, str], values: Mapping[str, np.ndarray]) -> str | None:
    """A column that is neither, and neither rises nor falls with any other; None if there is none."""
    for name in family.columns:
        others = [other for other in family.columns if other != name]
        alike = [abs(_correlation(values[name], values[other])) for other in others]
        if _unit(kinds[name]) == "number" and max(alike) < -ALIKE:
            return name
    return None


def require_kind(name: str, kind: str, values: np.ndarray, where: str, declared: str | None = None) -> None:
    """Raise `DataError` if a column's unit says another kind, or one that should hold magnitudes does not look so."""
    unit = _unit(kind)
    if declared and unit in ("magnitude", "flux") and unit != declared:
        raise DataError(
            f"{where}: column {name!r} holds {PLURAL[declared]} by its unit, and should hold {PLURAL[unit]}, as in the "
            "training"
        )
    there = values[~np.isnan(values)]
    if unit == "magnitude" and len(there) and np.median(np.abs(there)) > FAINTEST:
        raise DataError(
            f"{where}: column {name!r} should hold magnitudes, about 5 to 35, as in the training; its median is "
            f"{_median(values)}, which looks like a flux"
        )


def _flux(values: np.ndarray) -> str:
    """A kind of flux, softened at about a tenth of the typical flux: a power of ten, whatever the unit is."""
    there = np.abs(without_missing(values, "flux"))
    there = there[there > 0]
    return f"flux/{10.0 ** (math.floor(math.log10(np.median(there))) - 1 if len(there) else 0):g}"


def like_magnitudes(values: np.ndarray) -> bool:
    """Whether nearly all values could be magnitudes of what is seen in surveys; NaN does not count."""
    there = values[~np.isnan(values)]
    return not len(there) or bool(np.mean((there >= BRIGHTEST) & (there <= FAINTEST)) >= 0.95)


def _like_fluxes(values: np.ndarray) -> bool:
    there = values[~np.isnan(values)]
    return bool(len(there)) and bool(np.median(there) > FAINTEST or there.max() > 4 * FAINTEST)


def _unit(kind: str) -> str:
    kind = kind.partition("/")[0]
    return "magnitude" if kind == "luptitude" else kind


def _looks(kind: str) -> str:
    return {"magnitude": "looks like magnitudes", "flux": "looks like fluxes"}.get(
        _unit(kind), "looks like neither magnitudes nor fluxes"
    )


def _median(values: np.ndarray) -> str:
    there = values[~np.isnan(values)]
    return f"{np.median(there):.4g}" if len(there) else "missing"


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation where both are there; 0 where too few are."""
    from scipy.stats import rankdata

    both = ~(np.isnan(a) | np.isnan(b))
    if both.sum() < 10:
        return 0.0
    first, second = rankdata(a[both]), rankdata(b[both])
    spread = first.std() * second.std()
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread else 0.0
