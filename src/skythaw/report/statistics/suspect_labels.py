"""Which labels are suspect, and how many are wrong: objects to which a network gives another class too surely.

Objects are ranked by the probability of their label ("self-confidence", Northcutt, Jiang & Chuang, JAIR 70, 1373, 2021;
the same order as cleanlab's). How many are wrong is the share of a mixture: a label is drawn from the network's
probabilities, at a temperature and with an offset for each class that the labels themselves choose, or it is wrong
and any other class. Probabilities that mean what they say err as surely as they say; only mistakes beyond that are a
sign of wrong labels. A network that is surer than its tails allow looks alike, so a sign has to be a strong one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import softmax

SHARES = np.concatenate([[0.0], np.geomspace(3e-4, 0.45, 40)])
"""candidates for the share of wrong labels"""
TEMPERATURES = (-3.0, 3.0)
"""their logarithms"""
LEAST = -1e3
"""log-probabilities below this are as good as this"""
WITHIN = 1.92
"""how far the log-likelihood may fall within a 95 % interval"""
SIGN = 5.41
"""how far it has to fall at a share of 0 for a sign of wrong labels: by chance in one data set of 1,000"""


@dataclass(frozen=True)
class SuspectLabels:
    """What is to be thought of the labels of some objects."""

    sign: bool
    """whether there is any sign of wrong labels"""
    expected: dict[str, float]
    """how many labels are wrong: ``mean``, ``low`` and ``high`` (95 %); without a sign, ``low`` is 0"""
    wrong: Float[np.ndarray, " object"]
    """probability that each label is wrong; 0 without a sign"""


def suspect_labels(log_p: Float[np.ndarray, "object class"], label: Int[np.ndarray, " object"]) -> SuspectLabels:
    """Judge the labels of objects that the network was not trained on.

    Parameters
    ----------
    log_p
        log-probabilities
    label
        indices of the classes that the objects are said to be of
    """
    log_p = np.maximum(log_p.astype(np.float64), LEAST)
    start, fits = np.zeros(log_p.shape[1]), []
    bounds = [TEMPERATURES] + [(None, None)] * (log_p.shape[1] - 1)
    for share in SHARES:
        found = minimize(_loss, start, args=(share, log_p, label), jac=True, bounds=bounds)
        start = found.x
        fits.append(found)
    losses = np.array([each.fun for each in fits])
    best = int(losses.argmin())
    sign = bool(losses[0] - losses[best] > SIGN)
    low, high = _ends(losses - losses[best], best)
    expected = {"mean": SHARES[best], "low": low if sign else 0.0, "high": high}
    right = _believed(fits[best].x, log_p)[np.arange(len(label)), label]
    wrong = 1 - (1 - SHARES[best]) * right / _likelihood(right, SHARES[best], log_p.shape[1])
    counts = {name: float(share * len(label)) for name, share in expected.items()}
    return SuspectLabels(sign, counts, wrong if sign else np.zeros_like(wrong))


def _believed(setting: np.ndarray, log_p: np.ndarray) -> Float[np.ndarray, "object class"]:
    """The probability of each class, at a temperature (its logarithm first) and with offsets of the classes."""
    return softmax(log_p / np.exp(setting[0]) + np.concatenate([[0.0], setting[1:]]), axis=1)


def _likelihood(right: np.ndarray, share: float, classes: int) -> np.ndarray:
    return np.maximum((1 - share) * right + share / (classes - 1) * (1 - right), 1e-300)


def _loss(setting: np.ndarray, share: float, log_p: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the log-likelihood of the labels, and its derivatives."""
    p, rows, classes = _believed(setting, log_p), np.arange(len(label)), log_p.shape[1]
    right = p[rows, label]
    likelihood = _likelihood(right, share, classes)
    by_logits = -p * right[:, None]
    by_logits[rows, label] += right
    by_logits *= (-(1 - share - share / (classes - 1)) / likelihood)[:, None]
    by_temperature = -(by_logits * log_p).sum() / np.exp(setting[0])
    return -float(np.log(likelihood).sum()), np.concatenate([[by_temperature], by_logits.sum(0)[1:]])


def _ends(beyond: np.ndarray, best: int) -> tuple[float, float]:
    """Where the log-likelihood has fallen by `WITHIN` on either side of the best."""
    low = 0.0 if beyond[0] <= WITHIN else float(np.interp(-WITHIN, -beyond[: best + 1], SHARES[: best + 1]))
    return low, float(np.interp(WITHIN, beyond[best:], SHARES[best:]))
