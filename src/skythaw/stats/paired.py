"""Which of several models is better on the same objects: paired bootstraps of macro-F1 and of log loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def bootstrap_macro_f1(
    true: Int[np.ndarray, " object"],
    predicted: Int[np.ndarray, "model object"],
    weights: Float[np.ndarray, "draw object"],
) -> Float[np.ndarray, "model draw"]:
    """Macro-F1 of each model in each bootstrap draw.

    All models are scored on the same draws, so differences between them are paired (Efron & Tibshirani, An Introduction
    to the Bootstrap, 1993).

    Parameters
    ----------
    true
        indices of the true classes
    predicted
        indices of the predicted classes
    weights
        how often each object is drawn; a row of ones is the sample itself
    """
    classes = range(max(int(true.max()), int(predicted.max())) + 1)
    held = [c for c in classes if (true == c).any()]
    scores = np.zeros((len(predicted), len(weights)))
    for c in held:
        is_true, is_said = (true == c).astype(float), (predicted == c).astype(float)
        right = weights @ (is_true * is_said).T
        total = (weights @ is_true)[:, None] + weights @ is_said.T
        scores += np.divide(2 * right, total, out=np.zeros_like(right), where=total > 0).T
    return scores / len(held)


def bootstrap_log_loss(
    true: Int[np.ndarray, " object"],
    losses: Float[np.ndarray, "model object"],
    weights: Float[np.ndarray, "draw object"],
) -> Float[np.ndarray, "model draw"]:
    """Log loss of each model in each bootstrap draw, every class of the same weight; paired as `bootstrap_macro_f1`.

    Parameters
    ----------
    true
        indices of the true classes
    losses
        minus the logarithm of the probability given to each object's true class
    weights
        how often each object is drawn; a row of ones is the sample itself
    """
    held = np.unique(true)
    means = []
    for c in held:
        drawn = weights[:, true == c]
        means.append(losses[:, true == c] @ drawn.T / np.maximum(drawn.sum(1), 1))
    return np.mean(means, axis=0)


def draws(objects: int, count: int, seed: int) -> Float[np.ndarray, "draw object"]:
    """How often each object is drawn in so many bootstrap samples."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(objects, np.full(objects, 1 / objects), size=count).astype(float)


def behind(
    scores: Float[np.ndarray, "model draw"], best: int, level: float
) -> tuple[Float[np.ndarray, " model"], Float[np.ndarray, " model"]]:
    """Percentile interval of how far each model is behind the best, at a confidence level; scores: larger is better."""
    difference = scores[best] - scores
    tail = 100 * (1 - level) / 2
    return np.percentile(difference, tail, axis=1), np.percentile(difference, 100 - tail, axis=1)


def as_indices(names: np.ndarray, classes: Sequence[str]) -> Int[np.ndarray, " object"]:
    """Names of classes as their indices."""
    order = np.argsort(classes)
    sorted_classes = np.array(classes)[order]
    return order[np.searchsorted(sorted_classes, names.astype(str))]
