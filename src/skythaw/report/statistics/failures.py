"""Where a classifier fails: against each column of numbers, and object by object."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from skythaw.report.statistics.suspect_labels import suspect_labels
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.intervals import share_limits
from skythaw.stats.scored_sample import Sample

BINS = 8
FEWEST = 20
"""objects of a bin, at least"""
LISTED = 24


def errors_by_column(keys: tuple[str, ...], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """The share of objects classified wrongly, mean over cells, in bins of every column of numbers.

    Objects without a number are left out. Intervals are of the objects alone, and not corrected for the number of
    columns.
    """
    sample = bootstrap.sample
    wrong = np.mean([sample.said[key] != sample.true for key in keys], axis=0)
    found = []
    for name, values in sample.numbers.items():
        known = np.isfinite(values)
        bins = [
            _bin(low, high, inside, wrong, bootstrap)
            for low, high in _edges(values[known])
            if (inside := _inside(values, low, high)).any()
        ]
        if len(bins) > 1:
            found.append({"column": name, "objects": int(known.sum()), "bins": bins})
    return found


def _inside(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Which values are in a bin; a value on a border is in the upper one, the largest of all in the last."""
    last = high == np.nanmax(values[np.isfinite(values)])
    return (values >= low) & ((values < high) | ((values == high) & (last or low == high)))


def _edges(values: np.ndarray) -> list[tuple[float, float]]:
    """Lower and upper ends of bins: one for each value if there are few, else of about equally many objects.

    None for whole numbers that are all different: those are names.
    """
    distinct = np.unique(values)
    if len(distinct) == len(values) and (values == np.round(values)).all():
        return []
    if len(distinct) <= BINS:
        return [(float(value), float(value)) for value in distinct]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, int(np.clip(len(values) // FEWEST, 1, BINS)) + 1)))
    return [(float(low), float(high)) for low, high in pairwise(edges)]


def _bin(low: float, high: float, inside: np.ndarray, wrong: np.ndarray, bootstrap: Bootstrap) -> dict[str, float]:
    count, errors = bootstrap.totals([inside.astype(float), np.where(inside, wrong, 0.0)]).T
    drawn = count > 0
    objects = int(inside.sum())
    at_least, at_most = share_limits(bootstrap.widened(errors[drawn] / count[drawn]), objects)
    return {
        "from": float(low),
        "to": float(high),
        "objects": objects,
        "error": float(errors[0] / count[0]),
        "low": at_least,
        "high": at_most,
    }


def mistakes(several: Sequence[Float[np.ndarray, "object class"]], sample: Sample) -> dict[str, Any]:
    """The objects whose label is least believed: hard ones, and wrongly labelled ones.

    They are ordered by the probability of their label, the least first. A *suspect* is more probably wrongly labelled
    than not; where there is no sign of wrong labels (`suspect_labels`), there are none.

    Parameters
    ----------
    several
        log-probabilities of the objects, by each cell of a depth: the mean of their probabilities counts
    sample
        the objects

    Returns
    -------
    dict
        ``wrong`` and ``suspects`` (counts), ``sign`` (whether there is a sign of wrong labels), ``wrong_labels`` (how
        many are expected to be wrong, with interval), and ``listed``: the `LISTED` worst
    """
    log_p = logsumexp(np.stack(several), axis=0) - np.log(len(several))
    judged = suspect_labels(log_p, sample.true)
    p, true, rows = np.exp(log_p), sample.true, np.arange(len(sample))
    others = p.copy()
    others[rows, true] = -1.0
    rival = others.argmax(1)
    wrong = log_p[rows, true] < log_p[rows, rival]
    worst = [int(i) for i in np.argsort(log_p[rows, true], kind="stable") if wrong[i]][:LISTED]
    suspect = judged.wrong > 0.5
    listed = [
        {
            "object_id": sample.ids[i],
            "label": sample.classes[true[i]],
            "predicted": sample.classes[rival[i]],
            "p_label": float(p[i, true[i]]),
            "p_predicted": float(p[i, rival[i]]),
            "suspect": bool(suspect[i]),
            "p_wrong_label": float(judged.wrong[i]),
        }
        for i in worst
    ]
    return {
        "wrong": int(wrong.sum()),
        "suspects": int(suspect.sum()),
        "sign": judged.sign,
        "wrong_labels": judged.expected,
        "listed": listed,
    }
