"""Models that classify objects by their numbers: a forest, gradient boosting and a linear one.

scikit-learn fits them. What they have learned is kept as plain arrays, and read by numpy alone, so that a saved model
needs no version of scikit-learn, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from skythaw.errors import BundleError, DataError
from skythaw.tables.number_scaling import NumberScaling
from skythaw.tables.tree_arrays import BYTES, Trees, boosted_trees, forest_trees

Kind = Literal["forest", "boosting", "linear"]
TREES = 500
"""trees of a forest"""
LARGEST = 1 << 28
"""bytes of a model in a file"""
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""inverse strengths of regularization that are tried for the linear model"""
FOLDS = 5
ABSENT = -30.0
"""score of a class of which there was no training object"""


@dataclass(frozen=True, eq=False)
class NumberModel:
    """A fitted model of numbers."""

    kind: Kind
    classes: int
    scaling: NumberScaling
    trees: Trees | None
    """None for a linear model"""
    weights: np.ndarray
    """float64: [column class] of a linear model; otherwise empty"""
    base: np.ndarray
    """float64 [class]: the score of a class before anything is added"""

    def __repr__(self) -> str:
        return f"<NumberModel: {self.kind}, {len(self.scaling.middle)} numbers, {self.classes} classes>"

    def log_probabilities(self, values: np.ndarray) -> np.ndarray:
        """Natural logarithms of the probabilities, float64 [object class], never -inf.

        Parameters
        ----------
        values
            float64 [object number], in the order of the training; NaN where a number is missing

        Raises
        ------
        DataError
            There are more or fewer numbers than in the training.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.scaling.middle):
            raise DataError(
                f"the model was trained on {len(self.scaling.middle)} numbers an object; values have shape "
                f"{values.shape}"
            )
        if self.kind == "forest":
            return self._forest(values)
        scores = self._boosting(values) if self.kind == "boosting" else self._linear(values)
        scores = scores - scores.max(1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(1, keepdims=True))

    def _forest(self, values: np.ndarray) -> np.ndarray:
        """The mean of the trees, and of one more that knows nothing: so no probability is 0."""
        assert self.trees is not None
        leaves = self.trees.leaves(self.scaling.filled(values).astype(np.float32))
        votes = np.stack([self.trees.value[:, k][leaves].sum(1) for k in range(self.classes)], axis=1)
        return np.log((votes + 1 / self.classes) / (leaves.shape[1] + 1))

    def _boosting(self, values: np.ndarray) -> np.ndarray:
        """Trees take turns: the first adds to the first class that they know, and so on."""
        assert self.trees is not None
        leaves, scores = self.trees.leaves(values), np.tile(self.base, (len(values), 1))
        known = [k for k in range(self.classes) if self.base[k] != ABSENT]
        known = known[1:] if len(known) == 2 else known
        for i, k in enumerate(known):
            scores[:, k] += self.trees.value[leaves[:, i :: len(known)], 0].sum(1)
        return scores

    def _linear(self, values: np.ndarray) -> np.ndarray:
        """Added column by column: the same bits for an object alone and among others."""
        scaled, scores = self.scaling.scaled(values), np.tile(self.base, (len(values), 1))
        for column, weights in enumerate(self.weights):
            scores += scaled[:, column, None] * weights
        return scores

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All that was learned as plain arrays, for safetensors; `about` is the `description`, as JSON."""
        trees = {} if self.trees is None else self.trees.to_arrays()
        about = np.frombuffer(json.dumps(self.description).encode(), dtype=np.uint8)
        own = {"about": about, "weights": self.weights, "base": self.base}
        return {**self.scaling.to_arrays(), **trees, **own}

    @property
    def description(self) -> dict[str, Any]:
        """What the arrays are of, JSON-able."""
        return {"kind": self.kind, "classes": self.classes, "numbers": len(self.scaling.middle)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> NumberModel:
        """Make a model from what `to_arrays` gave. Nothing of it is believed.

        Raises
        ------
        BundleError
            They do not belong together, or are not of such a model.
        """
        try:
            return cls._read(arrays, json.loads(np.asarray(arrays["about"], dtype=np.uint8).tobytes()))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"the saved model of the numbers is damaged: {error}") from None

    @classmethod
    def _read(cls, arrays: Mapping[str, np.ndarray], description: dict[str, Any]) -> NumberModel:
        kind, classes, numbers = (description[name] for name in ("kind", "classes", "numbers"))
        if kind not in get_args(Kind) or type(classes) is not int or not 2 <= classes <= 100_000:
            raise ValueError(f"its kind is {kind!r} with {classes!r} classes")
        scaling, base = NumberScaling.from_arrays(arrays), np.asarray(arrays["base"])
        weights, columns = np.asarray(arrays["weights"]), scaling.width if kind != "boosting" else numbers
        if len(scaling.middle) != numbers or base.shape != (classes,) or base.dtype != np.float64:
            raise ValueError("it has other numbers or classes than it says")
        shape = (columns, classes) if kind == "linear" else (0, 0)
        if weights.shape != shape or weights.dtype != np.float64 or not np.isfinite([*weights.ravel(), *base]).all():
            raise ValueError("its weights have another form, or are not finite")
        trees = None if kind == "linear" else Trees.from_arrays(arrays, columns)
        if trees is not None and trees.value.shape[1] != (classes if kind == "forest" else 1):
            raise ValueError("its trees answer something else")
        if kind == "forest" and trees is not None and (trees.value < 0).any():
            raise ValueError("a share of a class is negative")
        return cls(kind, classes, scaling, trees, weights, base)


def fit_forest(values: np.ndarray, targets: np.ndarray, classes: int, seed: int) -> NumberModel:
    """A forest of extremely randomized trees (Geurts et al. 2006), untuned: the control of every study.

    Parameters
    ----------
    values
        float64 [object number] of the training objects; NaN where a number is missing
    targets
        int [object]: their classes, from 0 to `classes` - 1
    classes
        how many there are
    seed
        equal seeds give equal bits

    Raises
    ------
    DataError
        There are no numbers, or the training objects are all of one class.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    _require_two(values, targets)
    scaling = NumberScaling.fit(values)
    forest = ExtraTreesClassifier(TREES, max_features=0.4, n_jobs=1, random_state=_seed(seed))
    with _one_thread():
        forest.fit(scaling.filled(values).astype(np.float32), targets)
    present = forest.classes_
    for estimator in forest.estimators_:  # which count the classes that are there
        estimator.classes_ = present
    trees = forest_trees(forest.estimators_, classes)
    return NumberModel("forest", classes, scaling, trees, np.empty((0, 0)), np.zeros(classes))


def forest_fits(objects: int, classes: int) -> bool:
    """Whether a forest grown on so many objects surely is small enough for a file: a leaf for each in every tree."""
    return TREES * 2 * objects * (BYTES + 8 * classes) <= LARGEST


def fit_boosting(values: np.ndarray, targets: np.ndarray, classes: int, seed: int) -> NumberModel:
    """Gradient boosting of histograms (scikit-learn); missing numbers need no replacement. As `fit_forest`."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    _require_two(values, targets)
    boosting = HistGradientBoostingClassifier(
        learning_rate=0.06, max_iter=80, max_leaf_nodes=15, early_stopping=False, random_state=_seed(seed)
    )
    with _one_thread():
        boosting.fit(values, targets)
    base = np.full(classes, ABSENT)
    start = np.asarray(boosting._baseline_prediction, dtype=np.float64).ravel()
    base[boosting.classes_] = start if len(start) > 1 else [0.0, start[0]]
    trees = boosted_trees([tree for step in boosting._predictors for tree in step])
    return NumberModel("boosting", classes, NumberScaling.fit(values), trees, np.empty((0, 0)), base)


def fit_linear(values: np.ndarray, targets: np.ndarray, classes: int, seed: int) -> NumberModel:
    """Logistic regression of scaled numbers; the strength is chosen by cross-validation. As `fit_forest`."""
    from sklearn.linear_model import LogisticRegression

    _require_two(values, targets)
    scaling = NumberScaling.fit(values)
    scaled = scaling.scaled(values)
    with _one_thread():
        model = LogisticRegression(C=_strength(scaled, targets, seed), max_iter=2000).fit(scaled, targets)
    weights, base = np.zeros((scaling.width, classes)), np.full(classes, ABSENT)
    two = len(model.classes_) == 2
    weights[:, model.classes_] = np.stack([0 * model.coef_[0], model.coef_[0]], 1) if two else model.coef_.T
    base[model.classes_] = [0.0, model.intercept_[0]] if two else model.intercept_
    return NumberModel("linear", classes, scaling, None, weights, base)


def _strength(scaled: np.ndarray, targets: np.ndarray, seed: int) -> float:
    """The inverse strength with the least log loss on held-out folds; 1 where a class is too small for folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    smallest = np.unique(targets, return_counts=True)[1].min()
    if smallest < 2:
        return 1.0
    folds = StratifiedKFold(min(FOLDS, int(smallest)), shuffle=True, random_state=_seed(seed))
    losses = np.zeros(len(STRENGTHS))
    for train, held in folds.split(scaled, targets):
        for i, strength in enumerate(STRENGTHS):
            model = LogisticRegression(C=strength, max_iter=2000).fit(scaled[train], targets[train])
            right = np.searchsorted(model.classes_, targets[held])
            losses[i] -= model.predict_log_proba(scaled[held])[np.arange(len(held)), right].sum()
    return STRENGTHS[int(losses.argmin())]


def _require_two(values: np.ndarray, targets: np.ndarray) -> None:
    if not values.shape[1]:
        raise DataError("there are no numbers to learn from")
    if len(np.unique(targets)) < 2:
        raise DataError("a model of numbers needs training objects of at least 2 classes")


def _seed(seed: int) -> int:
    return seed % 2**32


def _one_thread() -> Any:
    """More threads would add in another order, and give other bits."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)
