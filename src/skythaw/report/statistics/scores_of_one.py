"""The scores of one classifier on objects that it has not seen, with intervals of the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from skythaw.stats.intervals import limits, share_limits

SCORES = {"completeness": "recall", "purity": "precision", "f1": "f1"}


def scores_of_one(
    draws: Mapping[str, Float[np.ndarray, " draw"]], confusion: Int[np.ndarray, "true said"], names: Sequence[str]
) -> dict[str, Any]:
    """``macro_f1``, ``accuracy``, ``balanced_accuracy``, ``log_loss`` and ``classes``: means and 95 % intervals.

    Parameters
    ----------
    draws
        of every score, as `skythaw.stats.bootstrap.Bootstrap.scores` names them
    confusion
        how many objects of each class are called what
    names
        of the classes; those without objects have no scores
    """
    there = {name: i for i, name in enumerate(names) if confusion[i].any()}
    classes = {name: _of_class(name, confusion[i].sum(), confusion[:, i].sum(), draws) for name, i in there.items()}
    low, high = limits(draws["log_loss"])
    return {
        "macro_f1": _mean_of_classes(draws["macro_f1"], classes),
        "accuracy": _share(draws["accuracy"], confusion.sum()),
        "balanced_accuracy": _mean_of_classes(draws["balanced_accuracy"], classes),
        "log_loss": {"mean": float(draws["log_loss"][0]), "low": low, "high": high},
        "classes": classes,
    }


def _of_class(name: str, objects: int, called: int, draws: Mapping[str, np.ndarray]) -> dict[str, Any]:
    of = {"completeness": objects, "purity": called or objects, "f1": objects}
    return {"objects": int(objects)} | {ours: _share(draws[f"{SCORES[ours]} {name}"], n) for ours, n in of.items()}


def _share(draws: np.ndarray, objects: int) -> dict[str, float]:
    low, high = share_limits(draws, objects)
    return {"mean": float(draws[0]), "low": low, "high": high}


def _mean_of_classes(draws: np.ndarray, classes: Mapping[str, Any]) -> dict[str, float]:
    """A score that is a mean over classes; where all objects are right, it may be as low as theirs."""
    low, high = (float(np.clip(end, 0, 1)) for end in limits(draws))
    if draws[0] >= 1:
        low = min(low, float(np.mean([each["completeness"]["low"] for each in classes.values()])))
    return {"mean": float(draws[0]), "low": low, "high": high}
