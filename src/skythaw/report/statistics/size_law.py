"""What more images would give: a power law of the error through the training sizes of a study, above a floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from skythaw.stats.intervals import limits

SCORE = "macro_f1"
FEWEST_SIZES = 3
FEWEST_SEEDS = 2
FLOORS = np.linspace(0.0, 1.0, 121)
"""candidates, as shares of the largest error"""
EXPONENTS = np.geomspace(0.03, 3.0, 80)
WIDE = 1.96
"""standard deviations of a normal distribution from its middle to the end of a 95 % interval"""


@dataclass(frozen=True)
class SizeLaws:
    """Laws ``floor + b * size ** -exponent`` for every floor and exponent, each with the b that fits it best.

    What is asked of a law is linear in b, so the ends of its profile interval are known for each floor and exponent.
    """

    floor: Float[np.ndarray, " law"]
    exponent: Float[np.ndarray, " law"]
    b: Float[np.ndarray, " law"]
    reach: Float[np.ndarray, " law"]
    """how far b may be from the best one, within the 95 % interval; NaN where the law fits too badly for any"""
    weight: Float[np.ndarray, " law"]
    """how probable the errors are by the law, in all 1"""

    def asked(self, fixed: np.ndarray, times: np.ndarray) -> dict[str, float]:
        """``mean`` (over laws, by their weight), ``low`` and ``high`` of ``fixed + times * b``."""
        values, reach = fixed + times * self.b, np.abs(times) * self.reach
        at_least = fixed + times * np.maximum(0.0, self.b - self.reach)
        low, high = float(np.nanmin(np.where(times > 0, at_least, values - reach))), float(np.nanmax(values + reach))
        return {"mean": float(np.clip((self.weight * values).sum(), low, high)), "low": low, "high": high}

    def error(self, size: int) -> dict[str, float]:
        """The error with so many images."""
        return self.asked(self.floor, size**-self.exponent)


def fit_laws(sizes: np.ndarray, errors: Float[np.ndarray, " size"], covariance: np.ndarray) -> SizeLaws:
    """Fit by generalised least squares; b is not negative, as more images do no harm."""
    floor, exponent = (each.ravel() for each in np.meshgrid(FLOORS * errors.max(), EXPONENTS, indexing="ij"))
    weights = np.linalg.inv(covariance)
    falls = sizes ** -exponent[:, None]
    above = errors - floor[:, None]
    strength = np.einsum("li,ij,lj->l", falls, weights, falls)
    b = np.maximum(0.0, np.einsum("li,ij,lj->l", falls, weights, above) / strength)
    left = above - b[:, None] * falls
    misfit = np.einsum("li,ij,lj->l", left, weights, left)
    beyond = misfit - misfit.min()
    room = np.where(beyond <= WIDE**2, WIDE**2 - beyond, np.nan)
    weight = np.exp(-beyond / 2)
    return SizeLaws(floor, exponent, b, np.sqrt(room / strength), weight / weight.sum())


def size_curve(sizes: list[int], draws: Float[np.ndarray, "size draw"], seeds: int) -> dict[str, Any]:
    """What twice the images would give, or why that can't be told.

    Errors fall as powers of the number of images over wide ranges, above a floor (Hestness et al., arXiv 1712.00409).
    Few sizes hardly tell a floor from a small exponent; intervals are of all laws that fit (profile likelihood), from a
    floor at the smallest error to none. The law through the smaller sizes has to predict the largest size.

    Parameters
    ----------
    sizes
        training images, rising
    draws
        the score in every draw, the sample itself first
    seeds
        how many each size has

    Returns
    -------
    dict
        ``sizes``, and ``why`` it can't be told; or else what `_law` gives
    """
    if len(sizes) < FEWEST_SIZES:
        return {"sizes": sizes, "why": "a law with a floor needs three training sizes or more"}
    if seeds < FEWEST_SEEDS:
        return {"sizes": sizes, "why": "with one seed nobody knows how much the sizes differ by chance"}
    x, errors = np.array(sizes, dtype=float), 1 - draws[:, 0].astype(float)
    covariance = _covariance(draws)
    test = _predicted(x, errors, covariance)
    if not test["low"] <= test["found"] <= test["high"]:
        return {"sizes": sizes, "why": "the law through the smaller sizes does not predict the largest", "test": test}
    return {"sizes": sizes, **_law(x, errors, covariance), "test": test}


def _law(x: np.ndarray, errors: np.ndarray, covariance: np.ndarray) -> dict[str, Any]:
    laws, last = fit_laws(x, errors, covariance), int(x[-1])
    ones, none = np.ones(len(laws.b)), np.zeros(len(laws.b))
    fitted = [laws.error(int(size))["mean"] for size in x]
    return {
        "exponent": laws.asked(laws.exponent, none),
        "floor": laws.asked(laws.floor, none * ones),
        "residual": float(np.abs(errors - fitted).max()),
        "twice": 2 * last,
        SCORE: _score(laws.error(2 * last)),
        "gain": laws.asked(none, last**-laws.exponent - (2.0 * last) ** -laws.exponent),
    }


def _predicted(x: np.ndarray, errors: np.ndarray, covariance: np.ndarray) -> dict[str, float]:
    """The score of the largest size as the smaller ones predict it, with what chance does to it; and as it is found."""
    said = fit_laws(x[:-1], errors[:-1], covariance[:-1, :-1]).error(int(x[-1]))
    chance = WIDE * float(np.sqrt(covariance[-1, -1]))
    ends = {end: said["mean"] + sign * np.hypot(said[end] - said["mean"], chance) for end, sign in ENDS.items()}
    return {"size": int(x[-1]), **_score({"mean": said["mean"], **ends}), "found": float(1 - errors[-1])}


ENDS = {"low": -1, "high": 1}


def _score(error: dict[str, float]) -> dict[str, float]:
    ends = {"low": 1 - error["high"], "high": 1 - error["low"]}
    return {"mean": 1 - error["mean"], **{end: float(np.clip(value, 0, 1)) for end, value in ends.items()}}


def _covariance(draws: Float[np.ndarray, "size draw"]) -> Float[np.ndarray, "size size"]:
    """Of the scores; as large as the 95 % intervals demand, which know how little few seeds tell."""
    half = np.array([(high - low) / 2 for low, high in map(limits, draws)]) / WIDE
    half = np.maximum(half, 1e-6)
    together = np.corrcoef(draws[:, 1:]) if draws[:, 1:].std(1).all() else np.eye(len(draws))
    return np.outer(half, half) * (0.999 * together + 0.001 * np.eye(len(draws)))
