"""Trials of learning rates: the best wins, whatever the seed; beyond an edge they go on."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from skythaw.spec import RATES, Recipe
from skythaw.study.rate_trials import SEED, RateTrials, given_rate, setting_of, trial_of
from test_spec import cell as spec_cell


def chosen(best, lost=()):
    """Follow trials where the loss grows with the distance from a rate, in decades."""
    cell = spec_cell(recipe=Recipe(lr="auto"))
    trials, rounds = {}, 0
    while (tried := RateTrials.follow(cell, trials, lost)).wanted:
        rounds += 1
        assert rounds < 20
        for trial in tried.wanted:
            loss = 1 + abs(math.log10(trial.recipe.lr / best))
            result = SimpleNamespace(curves=[{"log_loss": loss + 1}, {"log_loss": loss}])
            trials[trial.key] = SimpleNamespace(state="done", result=result)
    return tried.settled()


@pytest.mark.parametrize("best", [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2])
def test_the_best_rate_wins_even_beyond_those_tried_first(best):
    found = chosen(best)
    assert found.lr == pytest.approx(best)
    assert {t["lr"] for t in found.trials} >= set(RATES)
    assert found.doubts == ()
    assert found.lr not in (found.trials[0]["lr"], found.trials[-1]["lr"])


def test_an_edge_that_can_not_be_left_is_a_doubt():
    assert chosen(1e-9).doubts == ("its learning rate, 1e-06, is at the edge of those tried",)
    assert chosen(1e3).lr == 0.1


def test_seeds_share_trials_and_these_are_short():
    one, other = (spec_cell(recipe=Recipe(lr="auto"), seed=seed) for seed in (1, 2))
    assert setting_of(one) == setting_of(other)
    assert trial_of(one, 1e-3).key == trial_of(other, 1e-3).key
    trial = trial_of(one, 1e-3)
    assert trial.seed == SEED
    assert trial.recipe.lr == 1e-3
    assert trial.recipe.max_steps < one.recipe.max_steps
    assert setting_of(one.model_copy(update={"depth": one.depth + 1})) != setting_of(one)


@pytest.mark.parametrize(("images", "steps"), [(60, 60), (768, 60), (1500, 120), (3800, 300), (100_000, 300)])
def test_a_trial_has_five_epochs_within_bounds(images, steps):
    assert trial_of(spec_cell(recipe=Recipe(lr="auto"), train_size=images), 1e-3).recipe.max_steps == steps


def test_a_trial_is_no_longer_than_its_cells():
    assert trial_of(spec_cell(recipe=Recipe(lr="auto", max_steps=40)), 1e-3).recipe.max_steps == 40


def test_a_trial_that_failed_counts_as_the_worst():
    cell = spec_cell(recipe=Recipe(lr="auto"))
    keys = {trial_of(cell, rate).key for rate in RATES}
    tried = RateTrials.follow(cell, {}, keys)
    assert not tried.wanted
    assert all(t["score"] is None for t in tried.settled().trials)


def test_a_given_rate_needs_no_trials():
    assert given_rate(spec_cell(recipe=Recipe(lr=2e-3))).lr == 2e-3
