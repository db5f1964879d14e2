"""Scores of predicted probabilities. scikit-learn computes them; this file says which, and how they are laid out."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

COLLAPSE = 0.95
"""A model that gives one class to more than this share of a set has collapsed: an alarm is raised."""


def quick_scores(p: Float[np.ndarray, "object class"], y: Int[np.ndarray, " object"]) -> dict[str, float]:
    """Accuracy, macro-F1 and log loss: what is followed from epoch to epoch.

    Parameters
    ----------
    p
        probabilities; rows sum to 1
    y
        indices of the true classes
    """
    from sklearn.metrics import f1_score, log_loss

    classes = range(p.shape[1])
    predicted = p.argmax(1)
    return {
        "accuracy": float((predicted == y).mean()),
        "macro_f1": float(f1_score(y, predicted, labels=classes, average="macro", zero_division=0)),
        "log_loss": float(log_loss(y, _proper(p), labels=classes)),
    }


def all_scores(
    p: Float[np.ndarray, "object class"], y: Int[np.ndarray, " object"], classes: tuple[str, ...]
) -> dict[str, Any]:
    """Every score of one set.

    Parameters
    ----------
    p
        probabilities; rows sum to 1
    y
        indices of the true classes
    classes
        their names, in the order of `p`'s columns

    Returns
    -------
    dict
        ``accuracy``, ``balanced_accuracy`` (mean recall), ``macro_f1``, ``log_loss``, ``roc_auc`` (macro mean of one
        class against the rest), ``per_class`` (``precision``, ``recall``, ``f1``, ``support`` by class name), and
        ``confusion`` (rows: true class, columns: predicted class). A score that is not defined (ROC AUC where a class
        is absent) is None.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    labels = range(len(classes))
    predicted = p.argmax(1)
    table = precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    return {
        "objects": len(y),
        **quick_scores(p, y),
        "balanced_accuracy": float(table[1][table[3] > 0].mean()),
        "roc_auc": _roc_auc(p, y),
        "per_class": {
            name: {
                "precision": float(table[0][i]),
                "recall": float(table[1][i]),
                "f1": float(table[2][i]),
                "support": int(table[3][i]),
            }
            for i, name in enumerate(classes)
        },
        "confusion": confusion_matrix(y, predicted, labels=labels).tolist(),
    }


def collapse_alarm(
    p: Float[np.ndarray, "object class"], y: Int[np.ndarray, " object"], classes: tuple[str, ...], part: str
) -> str | None:
    """Say so if nearly everything is given to one class, which does not hold nearly everything."""
    counts = np.bincount(p.argmax(1), minlength=len(classes))
    share = counts.max() / len(y)
    if share <= COLLAPSE or (y == counts.argmax()).mean() > COLLAPSE:
        return None
    return f"collapsed on {part}: {share:.1%} of the objects are called {classes[counts.argmax()]}"


def _proper(p: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities in double precision that sum to 1 exactly enough."""
    p = p.astype(np.float64)
    return p / p.sum(1, keepdims=True)


def _roc_auc(p: NDArray[Any], y: NDArray[Any]) -> float | None:
    from sklearn.metrics import roc_auc_score

    if len(np.unique(y)) < p.shape[1]:
        return None
    if p.shape[1] == 2:
        return float(roc_auc_score(y, p[:, 1]))
    return float(roc_auc_score(y, _proper(p), multi_class="ovr", average="macro"))
