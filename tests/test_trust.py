"""A small version of benchmarks/trust.py: a report keeps its word in simulated studies, with a wide tolerance."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from trust import (
    EQUAL,
    SAME_BEST,
    Truth,
    beyond_the_margin,
    coverage,
    false_alarms,
    mobile,
    own_depths,
    power,
    race,
    recommendation,
    shapes,
    study,
    table_row,
)

STUDIES = 24


def shares(one, studies=STUDIES):
    return {name: share for name, (share, _, _) in table_row([study(one, i) for i in range(studies)]).items()}


def test_intervals_cover_and_agree_with_p_values():
    found = shares(partial(coverage, Truth(((0.7, 0.8, 0.8),), 300, 3, 0.01)))
    assert found["interval of a score"] > 0.85
    assert found["of a difference"] > 0.85
    assert found["all at once"] > 0.85
    assert found["interval and p disagree"] == 0


@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.03), (3, 0.01)])
def test_equal_depths_are_seldom_called_different(seeds, spread):
    found = shares(partial(false_alarms, Truth((EQUAL,), 300, seeds, spread)))
    assert max(found.values()) <= 0.15


def test_one_seed_supports_and_contradicts_nothing():
    assert shares(partial(false_alarms, Truth((EQUAL,), 300, 1, 0.03)), 10)["claims told"] == 0


@pytest.mark.soak
def test_claims_are_seldom_wrong():
    assert shares(partial(own_depths, Truth(SAME_BEST, 600, 3, 0.005)), 20)["claim 3 supported"] <= 0.15
    assert shares(partial(own_depths, Truth(((0.85, 0.7), (0.7, 0.85)), 600, 3, 0.005)), 10)["claim 3 supported"] == 1
    found = shares(partial(mobile, Truth(((0.78, 0.8),) * 4, 300, 3, 0.01)), 20)
    assert found["claim 4 contradicted"] <= 0.15
    assert found["claim 5 supported"] <= 0.15


def test_a_study_of_the_stated_size_shows_what_is_there():
    found = shares(partial(power, Truth(((0.76, 0.8, 0.8, 0.8),), 300, 3, 0.01)))
    assert found["size told"] > 0.5
    assert 0.6 <= found["shown at the stated size"] <= 0.97


def test_the_recommended_depth_is_a_good_one_and_surely_so_where_it_says_so():
    found = shares(partial(recommendation, shapes(4, 1000)))
    assert found["within 0.01 of the best"] > 0.75
    assert found["right where sure"] > 0.95
    assert found["sure"] > 0.05
    assert found["the set holds the best"] > 0.85
    near = shares(partial(recommendation, beyond_the_margin(1000)))
    assert near["sure and wrong"] <= 0.1


def test_a_race_keeps_the_best_and_saves_what_is_far_behind():
    alike = shares(partial(race, Truth(((0.8, 0.8, 0.8, 0.8 + 1e-6),), 300, 3, 0.03)), 40)
    assert alike["the best is dropped"] <= 0.1
    found = shares(partial(race, Truth(((0.55, 0.6, 0.79, 0.8),), 300, 3, 0.005)), 10)
    assert found["the best is dropped"] == 0
    assert 0.14 < found["cells saved"] <= 2 / 12
    assert found["recommended is within 0.01 of the best"] > 0.5


def test_a_share_has_the_error_of_its_studies():
    found = table_row([{"a": [1.0, 0.0]}, {"a": [1.0]}, {"a": []}, {}])
    assert found["a"] == (0.75, pytest.approx(0.25 / np.sqrt(2)), 2)
