"""Where a classifier fails: against each column of numbers, and object by object."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from skythaw.report.bootstrap import Bootstrap
from skythaw.report.intervals import limits
from skythaw.report.sample import Sample

BINS = 8
FEWEST = 20
"""objects of a bin; columns with fewer different bins than two are left out"""
LISTED = 24


def errors_by_column(keys: tuple[str, ...], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """The share of objects classified wrongly, mean over cells, in bins of every column of numbers.

    Bins hold equally many objects; objects without a number are left out. Intervals are of the objects alone.
    """
    sample = bootstrap.sample
    wrong = np.mean([sample.said[key] != sample.true for key in keys], axis=0)
    found = []
    for name, values in sample.numbers.items():
        known = np.isfinite(values)
        if not known.any():
            continue
        edges = np.unique(np.quantile(values[known], np.linspace(0, 1, _bins(known) + 1)))
        if len(edges) < 3:
            continue
        which = np.where(known, np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2), -1)
        bins = [_bin(edges[i], edges[i + 1], which == i, wrong, bootstrap) for i in range(len(edges) - 1)]
        found.append({"column": name, "objects": int(known.sum()), "bins": [each for each in bins if each]})
    return found


def _bins(known: np.ndarray) -> int:
    return int(np.clip(known.sum() // FEWEST, 1, BINS))


def _bin(low: float, high: float, inside: np.ndarray, wrong: np.ndarray, bootstrap: Bootstrap) -> dict[str, float]:
    if not inside.any():
        return {}
    count = bootstrap.total(inside.astype(float))
    drawn = count > 0
    error = bootstrap.total(np.where(inside, wrong, 0.0))[drawn] / count[drawn]
    ends = limits(error)
    return {
        "from": float(low),
        "to": float(high),
        "objects": int(inside.sum()),
        "error": float(error[0]),
        "low": ends[0],
        "high": ends[1],
    }


def mistakes(p: Float[np.ndarray, "object class"], sample: Sample) -> dict[str, Any]:
    """The objects whose label is least believed: hard ones, and often wrongly labelled ones.

    An object is a *suspect* by confident learning (Northcutt, Jiang & Chuang, JAIR 70, 1373, 2021) where another class
    has a probability at least as large as objects of that class have on average. They are ordered by the margin: the
    probability of the label less the largest other.

    Parameters
    ----------
    p
        probabilities of the test objects, mean over the cells of a depth
    sample
        the test objects

    Returns
    -------
    dict
        ``wrong`` and ``suspects`` (counts), and ``listed``: the `LISTED` worst
    """
    true, rows = sample.true, np.arange(len(sample))
    usual = np.array([p[true == c, c].mean() if (true == c).any() else np.inf for c in range(p.shape[1])])
    others = p.copy()
    others[rows, true] = -1.0
    rival = others.argmax(1)
    margin = p[rows, true] - others[rows, rival]
    suspect = np.any(others >= usual, axis=1)
    worst = [int(i) for i in np.argsort(margin, kind="stable")[:LISTED] if margin[i] < 0]
    listed = [
        {
            "object_id": sample.ids[i],
            "label": sample.classes[true[i]],
            "predicted": sample.classes[rival[i]],
            "p_label": float(p[i, true[i]]),
            "p_predicted": float(p[i, rival[i]]),
            "suspect": bool(suspect[i]),
        }
        for i in worst
    ]
    return {"wrong": int((margin < 0).sum()), "suspects": int(suspect.sum()), "listed": listed}
