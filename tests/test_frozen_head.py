"""The frozen network is the best of several heads on the same features."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skythaw.errors import DataError
from skythaw.spec import Recipe
from skythaw.tuning import frozen_head, linear_probe
from skythaw.tuning.frozen_head import (
    SOLVED,
    SOLVED_ON_VIEWS,
    SolvedHeads,
    out_of_fold,
    solve_again,
    solved_heads,
    starting_head,
)
from skythaw.tuning.linear_probe import LinearProbe, pooled, pooled_views, solve, start_from
from skythaw.tuning.training_loop import fit, predict
from test_training import images, model

RECIPE = Recipe(epochs=1, lr=1e-3, batch=6)


def head(score):
    return LinearProbe(np.zeros((3, 4)), np.zeros(3), 1.0, score)


@pytest.mark.parametrize(
    ("plain", "on_views", "trained", "kept"),
    [(0.7, 0.8, 0.6, SOLVED_ON_VIEWS), (0.8, 0.7, 0.6, SOLVED), (0.7, 0.8, 0.8, None), (0.7, None, 0.6, SOLVED)],
)
def test_the_best_on_validation_is_kept(plain, on_views, trained, kept):
    heads = SolvedHeads(head(plain), None if on_views is None else head(on_views))
    found = heads.better_than(trained)
    assert (found and found[0]) == kept


def test_a_solved_head_beats_one_that_was_hardly_trained():
    made, training, validation = model(depth=0), images(), images(seed=1)
    heads = solved_heads(made, training, validation, RECIPE)
    fitted = fit(made, training, validation, RECIPE, 0)
    name, best = heads.better_than(fitted.score)
    start_from(made, best)
    p = predict(made, validation, RECIPE)
    assert p == pytest.approx(best(pooled(made, validation, RECIPE)), abs=1e-5)
    assert (p.argmax(1) == validation.targets).mean() > 0.95
    assert name in (SOLVED, SOLVED_ON_VIEWS)


def test_every_view_of_every_image_is_solved_on_and_of_many_images_fewer(monkeypatch):
    made, training = model(depth=0), images()
    plain = pooled(made, training, RECIPE)
    features, targets = pooled_views(made, training, Recipe(views=8), plain)
    assert len(features) == len(targets) == 8 * len(training)
    assert np.array_equal(features[: len(training)], plain)
    assert not np.array_equal(features[: len(training)], features[-len(training) :])
    monkeypatch.setattr(linear_probe, "ROWS", 3 * len(training) + 1)
    assert len(pooled_views(made, training, Recipe(views=8), plain)[0]) == 3 * len(training)
    assert len(pooled_views(made, training, Recipe(views=1), plain)[0]) == len(training)


def test_a_head_that_training_starts_from_is_restrained():
    made, training, validation = model(depth=0), images(), images(seed=1)
    steep, start = (
        solved_heads(made, training, validation, RECIPE).plain,
        starting_head(made, training, validation, RECIPE),
    )
    assert start.strength <= 1
    assert math.isfinite(start.score)
    assert np.abs(start.weight).max() <= np.abs(steep.weight).max() or steep.strength <= 1


@pytest.mark.parametrize("which", [SOLVED, SOLVED_ON_VIEWS])
def test_it_can_be_solved_again(which):
    made, training, validation = model(depth=0), images(), images(seed=1)
    heads = solved_heads(made, training, validation, RECIPE)
    before = heads.plain if which == SOLVED else heads.on_views
    again = solve_again(made, which, before.strength, training, RECIPE)
    assert again.strength == before.strength
    assert again.weight == pytest.approx(before.weight, abs=0.02 * np.abs(before.weight).max())


def test_training_objects_are_judged_by_heads_that_did_not_see_them_or_their_group(monkeypatch):
    monkeypatch.setattr(frozen_head, "JUDGE", 1.0)  # there are few features and images
    made, training = model(depth=0), images((14, 14, 14))
    features = pooled(made, training, RECIPE)
    groups = np.arange(42) // 2
    found = out_of_fold(features, training.targets, groups, RECIPE)
    assert found.shape == (42, 3)
    assert np.exp(found).sum(1) == pytest.approx(np.ones(42), abs=1e-5)
    assert (found.argmax(1) == training.targets).mean() > 0.9
    wrong = training.targets.copy()
    wrong[:2] = 1  # both of one group: neither may teach that the other is right
    found = out_of_fold(features, wrong, groups, RECIPE)
    assert found[:2].argmax(1).tolist() == [0, 0]
    assert out_of_fold(features, training.targets, np.zeros(42, dtype=int), RECIPE) is None


def test_an_object_with_far_features_is_not_judged_for_sure():
    """Its probability would be extreme, right or wrong, and its label would seem wrong."""
    rng = np.random.default_rng(0)
    targets, groups = np.arange(90) % 3, np.arange(90)
    features = rng.normal(size=(90, 40)).astype(np.float32) + np.eye(3, 40)[targets]
    features[0] *= 1000
    found = out_of_fold(features, targets, groups, RECIPE)
    assert np.abs(found[0]).max() < 2 * np.abs(found[1:]).max()


@pytest.mark.parametrize("value", [0.0, 1e-30, 3.7, 1e6])
def test_constant_features_are_solved_to_the_shares_of_the_classes(value):
    """As wrong preprocessing gives them: of no use, but no reason to stop."""
    x, y = np.full((40, 5), value, np.float32), np.array([0] * 20 + [1] * 12 + [2] * 8)
    probe = solve((x, y), (x, y), RECIPE)
    assert probe(x).mean(0) == pytest.approx([0.5, 0.3, 0.2], abs=1e-3)
    judged = out_of_fold(x, y, np.arange(40), RECIPE)
    assert np.isfinite(judged).all()


def test_features_that_are_not_finite_are_one_line():
    x, y = np.full((6, 2), np.nan, np.float32), np.array([0, 1, 2] * 2)
    with pytest.raises(DataError, match=r"features that are not finite: .*check mean, std and stretch"):
        solve((x, y), (x, y), RECIPE)
