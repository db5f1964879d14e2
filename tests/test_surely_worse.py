"""The rule of a race of depths: the surely worse are out, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from skythaw.stats import surely_worse as module
from skythaw.stats.surely_worse import surely_worse

DRAWS = 400


def scores_of(*means, seeds=2, spread=0.003, sky=0.01, own=0.002, seed=0):
    """Of each setting: by seed and draw. Sky is shared, `own` is how much a network errs on objects of its own."""
    rng = np.random.default_rng(seed)
    shared = np.concatenate([[0.0], sky * rng.normal(size=DRAWS)])
    found = []
    for i, mean in enumerate(means):
        luck = spread * (-1) ** i * (np.linspace(-1, 1, seeds) if seeds > 1 else np.zeros(1))
        alone = own * rng.normal(size=(seeds, DRAWS + 1)) * (np.arange(DRAWS + 1) > 0)
        found.append(mean + shared + alone + luck[:, None])
    return found


def out(scores, looks=2, finished=None):
    return [i for i, beaten in enumerate(surely_worse(scores, finished or [True] * len(scores), looks)) if beaten]


def test_who_is_far_behind_is_out_after_two_seeds_and_who_is_near_is_not():
    assert out(scores_of(0.60, 0.75, 0.80)) == [0]
    assert out(scores_of(0.79, 0.75, 0.80)) == []


def test_it_is_said_who_is_better_and_by_how_much():
    beaten, _, best = surely_worse(scores_of(0.5, 0.79, 0.8), [True] * 3, 2)
    assert best is None
    assert beaten.by == 2
    assert 0 < beaten.low < 0.3 < beaten.high


def test_of_one_seed_nothing_is_out():
    assert out(scores_of(0.2, 0.75, 0.80, seeds=1)) == []


def test_two_seeds_say_little_so_even_quiet_ones_need_a_distance():
    """Without a spread beforehand, half a point would be sure."""
    quiet = {"spread": 0.0, "sky": 0.01, "own": 0.0005}
    assert out(scores_of(0.795, 0.8, **quiet)) == []
    assert out(scores_of(0.76, 0.8, **quiet)) == []
    assert out(scores_of(0.60, 0.8, **quiet)) == [0]


def test_seeds_that_agree_tell_more_with_each_one():
    assert [out(scores_of(0.765, 0.79, 0.8, seeds=n, spread=0.002)) for n in (1, 2, 5)] == [[], [], [0]]


def test_seeds_that_differ_tell_less():
    assert out(scores_of(0.7, 0.79, 0.8, seeds=3, spread=0.003)) == [0]
    assert out(scores_of(0.7, 0.79, 0.8, seeds=3, spread=0.06)) == []


def test_what_a_seed_does_to_all_alike_does_not_count():
    lucky = [each + 0.1 * np.array([[0.0], [1.0], [-1.0]]) for each in scores_of(0.7, 0.79, 0.8, seeds=3)]
    assert out(lucky) == [0]


def test_more_looks_and_more_rivals_demand_more():
    low = [surely_worse(scores_of(0.6, 0.8), [True] * 2, looks)[0].low for looks in (1, 2, 4)]
    assert low == sorted(low, reverse=True)
    few = surely_worse(scores_of(0.6, 0.8), [True] * 2, 1)[0].low
    many = surely_worse(scores_of(0.6, 0.8, *[0.78] * 8), [True] * 10, 1)[0].low
    assert many < few


@pytest.mark.parametrize("unfinished", [0, 1])
def test_a_training_that_is_not_finished_is_not_out_and_puts_none_out(unfinished):
    finished = [i != unfinished for i in range(2)]
    assert out(scores_of(0.5, 0.8), finished=finished) == []
    assert out(scores_of(0.5, 0.8, 0.79), finished=[*finished, True]) == ([] if unfinished == 0 else [0])


def test_one_alone_and_none_at_all():
    assert surely_worse(scores_of(0.8), [True], 2) == [None]
    assert surely_worse(scores_of(0.5, 0.8), [False, False], 2) == [None, None]


def test_the_spread_beforehand_weighs_less_with_every_seed():
    spreads = [module._spread(np.stack(scores_of(*[0.8] * 5, seeds=n, spread=0.0, own=0.0))) for n in (1, 2, 5)]
    assert [each.freedom for each in spreads] == [4, 8, 20]
    assert spreads[0].variance == module.BEFOREHAND.variance
    assert spreads[2].variance < 0.3 * spreads[0].variance
