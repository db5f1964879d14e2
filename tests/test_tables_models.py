"""Models of numbers: read from plain arrays they say what scikit-learn says, and damaged arrays are refused."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from skythaw.errors import BundleError, DataError
from skythaw.tables import number_models
from skythaw.tables.number_models import NumberModel, fit_boosting, fit_forest, fit_linear
from skythaw.tables.number_scaling import NumberScaling

FITS = [fit_forest, fit_boosting, fit_linear]
SKLEARN = {
    fit_forest: ("sklearn.ensemble.ExtraTreesClassifier", ExtraTreesClassifier),
    fit_boosting: ("sklearn.ensemble.HistGradientBoostingClassifier", HistGradientBoostingClassifier),
    fit_linear: ("sklearn.linear_model.LogisticRegression", LogisticRegression),
}
TREES = 20


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(number_models, "TREES", TREES)


def objects(classes=3, count=240, numbers=4, missing=0.1, seed=0):
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    values = rng.normal(0, 1, (count, numbers)) + targets[:, None] * rng.normal(0, 1, numbers)
    values[rng.random(values.shape) < missing] = np.nan
    values[:, 0] = np.nan_to_num(values[:, 0])
    return values, targets


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_arrays_say_what_sklearn_says(fit, classes, missing, monkeypatch):
    fitted = []
    where, kind = SKLEARN[fit]

    class Spied(kind):
        def fit(self, *given):
            fitted.append(self)
            return super().fit(*given)

    monkeypatch.setattr(where, Spied)
    values, targets = objects(classes, missing=missing)
    model = fit(values, targets, classes, 7)
    scaling = NumberScaling.fit(values)
    new = objects(classes, 500, missing=missing, seed=1)[0]
    if model.trees is not None:  # exactly on the thresholds too
        inner = np.flatnonzero(np.isfinite(model.trees.threshold) & (model.trees.column < 4))[:100]
        new[np.arange(len(inner)), model.trees.column[inner]] = model.trees.threshold[inner]
    given = {fit_forest: scaling.filled(new).astype(np.float32), fit_boosting: new, fit_linear: scaling.scaled(new)}
    expected = fitted[-1].predict_proba(given[fit])
    if fit is fit_forest:
        expected = (TREES * expected + 1 / classes) / (TREES + 1)
    for each in (model, NumberModel.from_arrays(load(save(model.to_arrays())))):
        np.testing.assert_allclose(np.exp(each.log_probabilities(new)), expected, atol=1e-10)


@pytest.mark.parametrize("fit", FITS)
def test_equal_seeds_give_equal_bits_and_an_object_is_the_same_alone(fit):
    values, targets = objects()
    first, second = (fit(values, targets, 3, 5).to_arrays() for _ in range(2))
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    model = NumberModel.from_arrays(first)
    log_p = model.log_probabilities(values)
    np.testing.assert_array_equal(log_p[7:8], model.log_probabilities(values[7:8]))
    assert model.log_probabilities(values[:0]).shape == (0, 3)


@pytest.mark.parametrize("fit", FITS)
def test_probabilities_are_never_0_and_sum_to_1(fit):
    values, targets = objects(missing=0)
    values[:, 0] = targets * 1e6
    odd = np.array([[1e300, -1e300, np.nan, 0.0], [np.nan] * 4])
    log_p = fit(values, targets, 3, 0).log_probabilities(np.concatenate([values, odd]))
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1)
    assert (log_p[: len(targets)].argmax(1) == targets).mean() > 0.95


@pytest.mark.parametrize("fit", FITS)
def test_a_class_without_training_objects_is_unlikely_and_allowed(fit):
    values, targets = objects()
    kept = targets != 1
    log_p = fit(values[kept], targets[kept], 3, 0).log_probabilities(values)
    assert np.isfinite(log_p).all()
    assert (log_p.argmax(1) != 1).all()


@pytest.mark.parametrize("fit", FITS)
def test_what_cannot_be_learned_is_refused(fit):
    values, targets = objects()
    with pytest.raises(DataError, match="at least 2 classes"):
        fit(values[targets == 1], targets[targets == 1], 3, 0)
    with pytest.raises(DataError, match="no numbers"):
        fit(values[:, :0], targets, 3, 0)
    with pytest.raises(DataError, match="trained on 4 numbers"):
        fit(values, targets, 3, 0).log_probabilities(values[:, :2])


def test_scales_are_learned_from_the_given_objects_alone():
    values = objects()[0]
    scaling = NumberScaling.fit(values)
    far = np.full((1, 4), 1e9)
    np.testing.assert_array_equal(scaling.scaled(far)[0, :4], 5)
    np.testing.assert_allclose(scaling.middle, np.nanmedian(values, axis=0))
    filled = scaling.filled(np.full((1, 4), np.nan))
    np.testing.assert_array_equal(filled[0, :4], scaling.middle)
    np.testing.assert_array_equal(filled[0, 4:], 1)
    assert scaling.width == 4 + len(scaling.flagged) == 7


def damaged(arrays, name, change):
    return {**arrays, name: change(np.array(arrays[name]))}


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tree_left", put(0, 0)),
        ("tree_left", put(1, -5)),
        ("tree_right", put(0, 10**6)),
        ("tree_column", put(0, 99)),
        ("tree_root", put(0, 10**8)),
        ("tree_value", put((0, 0), np.nan)),
        ("tree_value", lambda a: a[:-1]),
        ("tree_threshold", lambda a: a.astype(np.float32)),
        ("middle", put(0, np.inf)),
        ("scale", put(0, 0.0)),
        ("base", lambda a: a[:-1]),
        ("about", lambda a: a[:-3]),
        ("about", lambda a: np.frombuffer(b'{"kind": "pickle", "classes": 3, "numbers": 4}', np.uint8)),
        ("flagged", lambda a: a + 1000),
    ],
)
def test_damaged_arrays_are_refused(name, change):
    arrays = fit_forest(*objects(missing=0.2), 3, 0).to_arrays()
    NumberModel.from_arrays(arrays)
    with pytest.raises(BundleError, match="damaged"):
        NumberModel.from_arrays(damaged(arrays, name, change))


def test_a_missing_array_is_refused():
    arrays = fit_linear(*objects(), 3, 0).to_arrays()
    for name in arrays:
        with pytest.raises(BundleError, match="damaged"):
            NumberModel.from_arrays({key: array for key, array in arrays.items() if key != name})
