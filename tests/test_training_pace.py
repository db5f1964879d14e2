"""A training lasts as long as validation gains, and its rate rises, stays, and falls."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from skythaw.spec import Recipe
from skythaw.tuning.training_pace import (
    FALL,
    FEWEST,
    WAIT,
    WARM,
    CurvePace,
    GivenPace,
    course,
    expected_scorings,
    expected_steps,
    falling_steps,
    pace_of,
    still_falling,
    times_expected,
)


def went(losses, most=4000, score=lambda done: 0.0, scored=400):
    """The pace of a training whose validation loss is a function of the steps of its course; and all steps it took."""
    pace = CurvePace(most, scored)
    done, steps, remembered = 0, 0, None
    while not pace.over(done):
        done, steps = done + 1, steps + 1
        assert steps < 50_000, "it never ends"
        if pace.due(done):
            turn = pace.saw(done, losses(done), score(done))
            if turn == "gained":
                remembered = done
            elif turn == "back":
                assert remembered == pace.fall_from < done
                done = remembered
    return pace, steps


def test_the_rate_rises_stays_and_falls():
    rates = [course(step, 200) for step in range(200 + falling_steps(200))]
    assert rates[: WARM - 1] == sorted(rates[: WARM - 1])
    assert rates[0] == pytest.approx(1 / WARM)
    assert set(rates[WARM - 1 : 200]) == {1.0}
    assert rates[200:] == sorted(rates[200:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_a_rate_that_falls_while_it_still_rises_falls_from_where_it_was():
    rates = [course(step, 10) for step in range(10 + falling_steps(10))]
    assert rates[9] == max(rates) == 10 / WARM
    assert rates[9:] == sorted(rates[9:], reverse=True)


@pytest.mark.parametrize("lowest", [50, 300, 2000])
def test_it_waits_a_share_of_the_steps_that_the_last_gain_took(lowest):
    pace, steps = went(lambda step: abs(step - lowest) / lowest)
    assert 0.8 * lowest <= pace.fall_from <= 1.2 * lowest, "it goes back to the last gain"
    waited = steps - falling_steps(pace.fall_from)
    assert max(FEWEST, WAIT * pace.fall_from) <= waited <= max(1.3 * FEWEST, 1.2 * WAIT * pace.fall_from)
    assert pace.unfinished(pace.fall_from) == ()


def test_a_score_that_still_gains_is_waited_for_where_the_loss_is_not():
    by_loss, _ = went(lambda step: 1 + step / 1000)
    by_score, _ = went(lambda step: 1 + step / 1000, score=lambda step: min(step, 400) / 1000)
    assert by_loss.fall_from == 10
    assert by_score.fall_from > 380


def test_of_few_objects_a_score_must_gain_more():
    few, many = (went(lambda _: 1.0, score=lambda step: 0.5 + 0.005 * math.log2(step), scored=n)[0] for n in (50, 5000))
    assert few.fall_from < 2 * FEWEST
    assert many.fall_from > 3000


def test_where_the_most_steps_are_reached_it_says_that_it_is_not_finished():
    pace, _ = went(lambda step: 1 / step, most=500)
    assert pace.fall_from == 500
    assert pace.unfinished(700) == ("it still gained after 500 steps, the most that max_steps allows",)


def test_what_gained_nothing_for_long_is_not_called_cut_short():
    pace, _ = went(lambda step: abs(step - 100) / 100, most=200)
    assert pace.fall_from == pytest.approx(100, abs=10)
    assert pace.unfinished(pace.fall_from) == ()


def test_a_training_that_never_gains_after_its_first_steps_is_not_finished():
    pace, steps = went(lambda step: step / 100)
    assert pace.fall_from == 10
    assert pace.stumbled
    assert steps > FEWEST
    assert pace.unfinished(12) == ("nothing was gained after step 10, when its learning rate had hardly risen",)


@settings(deadline=None)
@given(some.lists(some.floats(0.01, 5), min_size=20, max_size=20), some.integers(1, 3000))
def test_every_curve_ends_between_its_bounds(values, most):
    pace, steps = went(lambda step: values[step % 20], most)
    assert 0 < pace.fall_from <= most
    assert steps <= most + falling_steps(pace.fall_from)
    assert pace.due(pace.steps), "the last weights are scored"


@pytest.mark.parametrize("most", [20, 60, 500, 4000])
def test_validation_is_scored_often_at_first_and_then_more_rarely(most):
    scored = []

    def loss(done):
        scored.append(done)
        return 1 / done

    pace, steps = went(loss, most)
    assert scored[:2] == [10, 20]
    assert len(scored) <= 10 * math.log10(steps)
    assert all(b - a <= max(10, a // 6) for a, b in itertools.pairwise(scored))
    assert scored[-1] == pace.steps == steps, "it gained to the end, so it went back on nothing"


def test_given_epochs_are_kept_to():
    pace = pace_of(Recipe(epochs=3), objects=100, scored=50)
    assert isinstance(pace, GivenPace)
    assert [done for done in range(1, 7) if pace.due(done)] == [2, 4, 6]
    assert not pace.over(5)
    assert pace.over(6)


@pytest.mark.parametrize(("best", "told"), [(10, True), (9, False), (5, False)])
def test_of_given_epochs_the_last_may_not_be_the_best(best, told):
    pace = pace_of(Recipe(epochs=10), objects=64, scored=50)
    assert bool(pace.unfinished(best)) == told


def test_what_is_expected():
    assert expected_steps(Recipe(epochs=3), 100) == 6
    assert expected_scorings(Recipe(epochs=3), 100) == 3
    few, many = (expected_steps(Recipe(), n) for n in (60, 60_000))
    assert FEWEST < few < many <= (1 + FALL) * Recipe().most_steps(60_000)
    for images, mean in ((300, 272), (600, 677), (1500, 1366), (16_740, 16_378)):  # docs/log.md
        assert 0.6 < times_expected(Recipe(), images, float(mean)) < 1.6
    assert expected_scorings(Recipe(), 60) < expected_scorings(Recipe(), 60_000) < 60


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([1.1, 0.9, 0.7, 0.6, 0.5], True),
        ([1.1, 0.6, 0.55, 0.55, 0.545], False),
        ([1.0, 0.5, 0.6], False),
        ([1.0], False),
        ([], False),
    ],
)
def test_of_given_epochs_a_loss_that_still_falls_at_the_end_is_a_reason(losses, told):
    assert bool(still_falling(losses)) == told


@pytest.mark.parametrize(("most", "fall_from"), [(4000, 40), (4000, 300), (50, 50), (60, 40)])
def test_before_the_end_all_phases_are_gone_through(most, fall_from):
    """However short the training: a strategy that thaws by phases has thawed all in the end."""
    pace = CurvePace(most, 100)
    begun = [pace.phase(step) for step in range(fall_from)]
    pace.fall_from = fall_from
    parts = [step / of for step, of in (*begun, *map(pace.phase, range(fall_from, pace.steps)))]
    assert parts == sorted(parts)
    assert parts[0] <= 0.25
    assert parts[-1] == 1
