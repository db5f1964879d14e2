"""What `Classifier.predict` gives: a copy of it knows its objects, and what is computed from it is a plain array."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from skythaw.bundle.predicted import PredictedClasses


def some():
    return PredictedClasses.of(np.array([[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]], np.float32), "abc", ["GALAXY", "QSO"])


@pytest.mark.parametrize(
    "kept",
    [
        lambda p: p.copy(),
        copy.copy,
        copy.deepcopy,
        lambda p: p.astype(np.float64),
        *(lambda p, i=i: pickle.loads(pickle.dumps(p, i)) for i in range(2, 6)),
    ],
)
def test_a_copy_knows_its_objects_and_classes(kept):
    p = some()
    found = kept(p)
    assert (found.ids, found.classes, found.labels) == (p.ids, p.classes, p.labels)
    assert np.array_equal(found, p)


@pytest.mark.parametrize(
    "changed",
    [
        lambda p: p.T,
        lambda p: p.reshape(-1),
        lambda p: p.transpose(),
        lambda p: p.ravel(),
        np.sort,
        np.transpose,
        lambda p: np.concatenate([p, p]),
    ],
)
def test_what_has_other_rows_or_columns_is_a_plain_array(changed):
    p = some()
    found = changed(p)
    assert type(found) is np.ndarray
    assert np.array_equal(found, changed(np.asarray(p)))


def test_what_names_rows_or_columns_no_longer_is_a_plain_array():
    p = PredictedClasses.of(np.array([[0.9, 0.1], [0.2, 0.8]]), ["a", "b"], ["GALAXY", "QSO"])
    for found in (p.argmax(1), p.argsort(), p.repeat(2, 0), p.mT, p.dot([1, 1]), p.diagonal(), p.cumsum(1)):
        assert type(found) is np.ndarray
