"""Image and numbers together: two classifiers' probabilities become one's. numpy alone.

``mean`` is the mean of both. ``stack`` is a multinomial logistic regression on both, fitted on training objects that
neither of the two had seen (out of fold), and never on validation or test (Wolpert, Neural Networks 5, 241, 1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

MEAN, STACK = "mean", "stack"
WAYS = {"both": (MEAN, STACK), "both:mean": (MEAN,), "both:stack": (STACK,)}
"""what is tried, by the name of the inputs"""
NETWORK_FOLDS = 3
"""of the training objects, for a stack: the network is trained so many times on the others of them"""
LEAST = -12.0
"""Log-probabilities below it count as this: how far below is chance"""
STRENGTH = 1.0
"""of the restraint, as scikit-learn counts it"""
Pair = tuple[Float[np.ndarray, "object class"], Float[np.ndarray, "object class"]]
"""log-probabilities of the same objects, by image and by numbers"""


@dataclass(frozen=True)
class Stack:
    """A fitted logistic regression on two classifiers' log-probabilities."""

    weights: Float[np.ndarray, "class evidence"]
    bias: Float[np.ndarray, " class"]

    def log_probabilities(self, pair: Pair) -> Float[np.ndarray, "object class"]:
        return _log_softmax(_evidence(pair) @ self.weights.T + self.bias)


def fit_stack(pair: Pair, targets: Int[np.ndarray, " object"]) -> Stack:
    """Fit a stack on objects that neither classifier has seen."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=STRENGTH, max_iter=2000).fit(_evidence(pair), targets)
    if len(fitted.classes_) == 2:  # of two classes it gives one row
        return Stack(np.vstack([-fitted.coef_, fitted.coef_]) / 2, np.append(-fitted.intercept_, fitted.intercept_) / 2)
    return Stack(fitted.coef_, fitted.intercept_)


def mean_of(pair: Pair) -> Float[np.ndarray, "object class"]:
    """The logarithm of the mean of both probabilities."""
    return np.logaddexp(*(each.astype(np.float64) for each in pair)) - np.log(2)


def fused(way: str, pair: Pair, stack: Stack | None) -> Float[np.ndarray, "object class"]:
    """Log-probabilities of both together."""
    if way == MEAN:
        return mean_of(pair)
    assert stack is not None
    return stack.log_probabilities(pair)


def log_loss_of(log_p: Float[np.ndarray, "object class"], targets: Int[np.ndarray, " object"]) -> float:
    return float(-np.maximum(log_p[np.arange(len(targets)), targets], LEAST).mean())


def best_way(losses: Mapping[str, float]) -> str:
    """The way with the smallest log loss on validation; the simpler on a tie."""
    return min(losses, key=lambda way: losses[way])


def _evidence(pair: Pair) -> Float[np.ndarray, "object evidence"]:
    """What the stack weighs: each classifier's log-probabilities, less their mean over the classes."""
    cut = [np.maximum(each.astype(np.float64), LEAST) for each in pair]
    return np.concatenate([each - each.mean(1, keepdims=True) for each in cut], axis=1)


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores - scores.max(1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))
