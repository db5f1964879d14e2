"""What is known of the true scores of all depths together: neighbouring depths are alike, seeds and objects are shared.

Before any score is seen, the scores are taken for a Gaussian process over the share of the blocks (Rasmussen &
Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5): a constant, a smooth curve, and a part of
each depth's own. How large and how smooth they are is not known, nor is the spread between seeds exactly. So all of a
grid of values are tried, and each counts by its marginal likelihood: where the scores show no curve, they are drawn
towards a flat one, and where depths differ without order, each stands for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from skythaw.stats.differences import Means

CURVE = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3)
"""standard deviations of the smooth curve, in the score"""
LENGTH = (0.2, 0.6)
"""in shares of the blocks: over it the curve changes"""
OWN = (0.0, 0.003, 0.01, 0.03, 0.1)
"""standard deviations of each depth's own part"""
LEVEL_OF_ALL = 1.0
"""of the constant: nothing is known of it"""
SPREADS = (np.arange(5) + 0.5) / 5
"""quantiles of the spread between seeds"""
DRAWS = 8000


@dataclass(frozen=True)
class DepthPosterior:
    """Draws of the true scores of the depths."""

    scores: Float[np.ndarray, "draw depth"]

    def best_in(self) -> Float[np.ndarray, " depth"]:
        """The probability of each depth that it is the best."""
        wins = np.bincount(self.scores.argmax(1), minlength=self.scores.shape[1])
        return wins / wins.sum()

    def within(self, margin: float) -> Float[np.ndarray, " depth"]:
        """The probability of each depth that it is not more than a margin below the best."""
        return np.asarray((self.scores >= self.scores.max(1, keepdims=True) - margin).mean(0))

    def regret(self) -> Float[np.ndarray, " depth"]:
        """What each depth is expected to lose against the best."""
        return np.asarray((self.scores.max(1, keepdims=True) - self.scores).mean(0))


def depth_posterior(means: Means, shares: Float[np.ndarray, " depth"]) -> DepthPosterior:
    """Learn from the scores of the depths.

    Parameters
    ----------
    means
        of the depths
    shares
        of the blocks, that each depth trains: 0 to 1
    """
    seen = means.draws[:, 0].astype(np.float64)
    prior, noise = _settings(means, np.asarray(shares, dtype=float))
    inverse = np.linalg.inv(prior + noise)
    away = seen - seen.mean()
    fit = np.einsum("sij,j->si", inverse, away)
    likelihood = -0.5 * (fit @ away + np.linalg.slogdet(prior + noise)[1])
    weight = np.exp(likelihood - likelihood.max())
    centre = np.einsum("sij,sj->si", prior, fit)
    values, vectors = np.linalg.eigh(prior - prior @ inverse @ prior)
    roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None]
    rng = np.random.Generator(np.random.PCG64(16))
    chosen = rng.choice(len(weight), DRAWS, p=weight / weight.sum())
    normal = rng.normal(size=(DRAWS, len(seen)))
    drawn = centre[chosen] + np.einsum("dij,dj->di", roots[chosen], normal)
    return DepthPosterior(drawn + seen.mean())


def _settings(means: Means, shares: Float[np.ndarray, " depth"]) -> tuple[np.ndarray, np.ndarray]:
    """Covariances [setting, depth, depth] of the true scores, and of what is seen of them."""
    apart = np.abs(shares[:, None] - shares)
    same = np.eye(len(shares))
    priors = [
        LEVEL_OF_ALL + curve**2 * _alike(apart / length) + (own**2 + 1e-10) * same
        for curve, length, own in product(CURVE, LENGTH, OWN)
    ]
    noises = [means.covariance + np.diag(_beyond_objects(means, quantile)) for quantile in SPREADS]
    both = list(product(priors, noises))
    return np.stack([prior for prior, _ in both]), np.stack([noise for _, noise in both])


def _alike(distance: Float[np.ndarray, "depth depth"]) -> Float[np.ndarray, "depth depth"]:
    """Matern's correlation of order 3/2: curves that may bend, but not jump."""
    return (1 + np.sqrt(3) * distance) * np.exp(-np.sqrt(3) * distance)


def _beyond_objects(means: Means, quantile: float) -> Float[np.ndarray, " depth"]:
    """The seeds' share of the variance of each mean: of what the spread may truly be, a quantile."""
    from scipy.stats import chi2

    found = []
    for pool, seeds in zip(means.pool, means.seeds, strict=True):
        spread = means.spreads[pool]
        true = spread.variance * spread.freedom / chi2.ppf(quantile, spread.freedom) if spread.freedom else 0.0
        found.append(max(0.0, true - spread.of_objects) / seeds)
    return np.array(found)
