"""Do probabilities mean what they say? Reliability, its error, and temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.calibration_error import calibration_error
from skythaw.stats.intervals import share_limits
from skythaw.stats.scored_sample import Sample

BINS = 15


def fit_temperature(log_p: Float[np.ndarray, "object class"], true: Int[np.ndarray, " object"]) -> float:
    """The temperature that makes the log loss smallest; above 1 where the network is too sure of itself.

    Guo et al., On Calibration of Modern Neural Networks (arXiv 1706.04599).

    Parameters
    ----------
    log_p
        log-probabilities of objects that were not trained on (validation)
    true
        indices of their true classes
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return -float(tempered(log_p, float(np.exp(log_temperature)))[np.arange(len(log_p)), true].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def tempered(log_p: Float[np.ndarray, "object class"], temperature: float) -> Float[np.ndarray, "object class"]:
    """Log-probabilities at another temperature, float64: divided by it, and normalised again.

    They are logits but for a constant of each object, so nothing is cut: a network that is sure to a hundred digits is
    as unsure at temperature 100 as its logits say.
    """
    from scipy.special import log_softmax

    return np.asarray(log_softmax(log_p.astype(np.float64) / temperature, axis=1))


def calibration(keys: tuple[str, ...], validation: Sample, bootstrap: Bootstrap) -> dict[str, Any]:
    """Calibration on test of one depth's cells, before and after temperature scaling fitted on validation.

    Returns
    -------
    dict
        ``temperatures`` (one a cell), ``before`` and ``after``: each has ``ece`` (see `calibration_error`; its interval
        is of other objects, with these networks), ``log_loss`` and ``bins`` of the top probability, all means over the
        cells
    """
    test = bootstrap.sample
    temperatures = [fit_temperature(validation.log_probabilities(key), validation.true) for key in keys]
    raw = [test.log_probabilities(key) for key in keys]
    scaled = [tempered(p, each) for p, each in zip(raw, temperatures, strict=True)]
    return {
        "temperatures": temperatures,
        "before": reliability(raw, bootstrap),
        "after": reliability(scaled, bootstrap),
    }


def reliability(several: Sequence[Float[np.ndarray, "object class"]], bootstrap: Bootstrap) -> dict[str, Any]:
    """The expected calibration error over bins of equal width, as estimated and as counted, and the bins themselves.

    Parameters
    ----------
    several
        log-probabilities of the bootstrap's objects, of each network
    bootstrap
        of the objects
    """
    true, rows = bootstrap.sample.true, np.arange(len(bootstrap.sample))
    losses, sums, off, least = [], [], [], []
    for log_p in several:
        p = np.exp(log_p)
        top, right = p.max(1), p.argmax(1) == true
        which = np.minimum((top * BINS).astype(int), BINS - 1)
        values = (np.ones(len(p)), top, right)
        found = bootstrap.totals([np.where(which == i, value, 0.0) for value in values for i in range(BINS)])
        count, sure, hit = (found[:, i * BINS : (i + 1) * BINS] for i in range(3))
        off.append((hit - sure) / count.sum(1, keepdims=True) / len(several))
        least.append(np.bincount(which, top * (1 - top), BINS) / (len(p) * len(several)) ** 2)
        losses.append(-log_p[rows, true].mean(dtype=np.float64))
        sums.append((count, sure, hit))
    count, sure, hit = (np.sum([each[i] for each in sums], axis=0) for i in range(3))
    draws = bootstrap.widened(np.concatenate(off, axis=1).T).T
    return {
        "ece": calibration_error(draws[0], draws[1:] - draws[0], np.concatenate(least)),
        "ece_plain": float(np.abs(draws[0]).sum()),
        "log_loss": float(np.mean(losses)),
        "bins": [
            _bin(i, count[:, i] / len(several), sure[:, i] / len(several), hit[:, i] / len(several), bootstrap)
            for i in range(BINS)
            if count[0, i]
        ],
    }


def _bin(i: int, count: np.ndarray, sure: np.ndarray, hit: np.ndarray, bootstrap: Bootstrap) -> dict[str, float]:
    drawn = count > 0
    share = bootstrap.widened(hit[drawn] / count[drawn])
    low, high = share_limits(share, max(1, round(count[0])))
    return {
        "from": i / BINS,
        "to": (i + 1) / BINS,
        "probability": float(sure[0] / count[0]),
        "accuracy": float(hit[0] / count[0]),
        "low": low,
        "high": high,
        "objects": float(count[0]),
    }
