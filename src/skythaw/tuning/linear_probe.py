"""The linear probe, solved exactly: multinomial logistic regression on pooled features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from skythaw.errors import DataError
from skythaw.spec import Recipe
from skythaw.tuning.frozen.crossing import crossing
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.scores import quick_scores
from skythaw.tuning.thawed_network import ThawedNetwork

STRENGTHS = tuple(10.0 ** (step / 2) for step in range(-8, 5))
"""Inverse regularisation strengths tried, half a decade apart: from almost nothing learned to almost no restraint."""
ITERATIONS = 2000
ROWS = 32_000
"""Feature vectors that a head is solved on, at most: of more images, fewer views are used."""
PATIENCE = 3
"""Weaker restraint is no longer tried after so many strengths without a better score or log loss on validation: these
take longest to solve (of 4,000 images, nine tenths of all), and overfit the more."""


@dataclass(frozen=True)
class LinearProbe:
    """A solved head: ``softmax(features @ weight.T + bias)``."""

    weight: Float[np.ndarray, "class feature"]
    bias: Float[np.ndarray, " class"]
    strength: float
    """the inverse regularisation strength that validation chose, for features of unit variance"""
    score: float
    """its validation score, larger is better"""

    def __call__(self, features: Float[np.ndarray, "object feature"]) -> Float[np.ndarray, "object class"]:
        """Probabilities."""
        return np.exp(self.log_probabilities(features))

    def log_probabilities(self, features: Float[np.ndarray, "object feature"]) -> Float[np.ndarray, "object class"]:
        """Their logarithms."""
        from scipy.special import log_softmax

        logits = features.astype(np.float64) @ self.weight.T + self.bias
        return np.asarray(log_softmax(logits, axis=1))


def pooled(
    model: ThawedNetwork, images: LabelledImages, recipe: Recipe, view: int = 0
) -> Float[np.ndarray, "object feature"]:
    """What the head gets for each object in one view (the first is the image as it is), float32."""
    parts = []
    with model.evaluating():
        for chosen in np.array_split(np.arange(len(images)), math.ceil(len(images) / recipe.batch)):
            views = np.full(len(chosen), view)
            parts.append(model.features(crossing(model, images, chosen, views)).float().cpu())
    return torch.cat(parts).numpy()


def pooled_views(
    model: ThawedNetwork, images: LabelledImages, recipe: Recipe, plain: Float[np.ndarray, "object feature"]
) -> tuple[Float[np.ndarray, "row feature"], Int[np.ndarray, " row"]]:
    """What the head gets for each object in each of the recipe's views (see `ROWS`), and the classes.

    `plain` is what it gets in the first view.
    """
    views = max(1, min(recipe.views, ROWS // len(images)))
    features = [plain, *(pooled(model, images, recipe, view) for view in range(1, views))]
    return np.concatenate(features), np.tile(images.targets, views)


def solve(
    training: tuple[Float[np.ndarray, "object feature"], Int[np.ndarray, " object"]],
    validation: tuple[Float[np.ndarray, "scored feature"], Int[np.ndarray, " scored"]],
    recipe: Recipe,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearProbe:
    """The head that minimises log loss plus L2 on training, with the strength that is best on validation.

    Features are scaled to unit variance first, and the scaling is put into the weights afterwards. On a tie the
    stronger regularisation is taken. Strengths are tried from the strongest restraint on, up to `PATIENCE` beyond the
    best. Class weights and the score that chooses are the recipe's. Where all features are constant, the head gives
    each class its share of the training images.

    Raises
    ------
    DataError
        A feature is not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    (x, y), (x_validation, y_validation) = training, validation
    mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(scale).all()):
        raise DataError(
            "the network gives features that are not finite: images or weights hold values that are far too large; "
            "check mean, std and stretch"
        )
    scale[(scale < 1e-6 * scale.max()) | (scale <= 1e-9 * np.abs(mean))] = np.inf  # a constant feature says nothing
    scaled = x - mean  # float64, once and in place: with many images this is the largest array of a study
    scaled /= scale
    fitted = LogisticRegression(
        max_iter=ITERATIONS, tol=1e-5, warm_start=True, class_weight=recipe.class_weights, random_state=0
    )
    best: LinearProbe | None = None
    smallest_loss, waited = math.inf, 0
    with threadpool_limits(recipe.threads):
        for strength in strengths:
            fitted.set_params(C=strength).fit(scaled, y)
            coefficients, intercept = _every_class(fitted)
            weight = coefficients / scale
            probe = LinearProbe(weight, intercept - weight @ mean, strength, -math.inf)
            scores = quick_scores(probe(x_validation), y_validation)
            score = scores["macro_f1"] if recipe.select == "macro_f1" else -scores["log_loss"]
            waited += 1
            if best is None or score > best.score:
                best, waited = LinearProbe(probe.weight, probe.bias, strength, score), 0
            if scores["log_loss"] < smallest_loss:
                smallest_loss, waited = scores["log_loss"], 0
            if waited == PATIENCE:
                break
    assert best is not None  # there is a strength
    return best


@torch.no_grad()
def start_from(model: ThawedNetwork, probe: LinearProbe) -> None:
    """Give the model's head the solved weights."""
    model.head.linear.weight.copy_(torch.from_numpy(probe.weight))
    model.head.linear.bias.copy_(torch.from_numpy(probe.bias))


def _every_class(fitted: object) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and intercepts, one row a class: of two classes, scikit-learn keeps the second alone."""
    coefficients, intercept = fitted.coef_, fitted.intercept_  # type: ignore[attr-defined]
    if len(coefficients) == 1:
        return np.concatenate([-coefficients, coefficients]) / 2, np.concatenate([-intercept, intercept]) / 2
    return coefficients, intercept
