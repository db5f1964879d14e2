"""Words of certainty stand beside numbers that bear them: in simulated studies of all kinds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from trust import Truth, contested, contests

from helpers_soak import soak
from skythaw.report.certainty_sentences import how_sure, redrawn, separation
from skythaw.report.statistics.claims import CONTRADICTED, SUPPORTED, claims
from skythaw.report.statistics.depth_comparison import comparison
from skythaw.report.statistics.depth_contest import Contest

NAMES = ("resnet50", "vgg16", "densenet121", "xception", "mobilenetv2")


def holds_nothing(found):
    return found["low_simultaneous"] <= 0 <= found["high_simultaneous"]


@pytest.mark.parametrize("number", soak(range(200), keep=12))
def test_sure_words_never_stand_beside_an_interval_that_holds_nothing(number):
    rng = np.random.default_rng([16, number])
    depths, networks = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    apart = rng.choice([0.005, 0.03, 0.1])
    scores = tuple(tuple(0.8 + apart * rng.normal(size=depths) * 0.5) for _ in range(networks))
    truth = Truth(scores, int(rng.choice([150, 600])), int(rng.integers(1, 5)), float(rng.choice([0.0, 0.01, 0.04])))
    found = contests(truth, rng)
    for contest in found:
        compared = comparison(contest)
        check_words(compared)
        check_pairs(compared)
    check_claims(claims(contested(found, NAMES[:networks])))


def check_words(compared):
    if "surely the best" in how_sure(compared):
        best = [p for p in compared["pairs"] if compared["recommended"] in (p["a"], p["b"])]
        assert not any(holds_nothing(p["macro_f1"]) for p in best)
    assert ("surely" in how_sure(compared)) == compared["sure"]
    if compared["sure"]:
        for pair in compared["pairs"]:
            ends = pair["macro_f1"]
            ahead = {pair["a"]: ends["high_simultaneous"], pair["b"]: -ends["low_simultaneous"]}
            assert ahead.get(compared["recommended"], -1) < compared["margin"], "another may be better by more"
    if "tells the best depth from every other" in separation(compared):
        assert compared["alike"] == []
    assert ("these trained networks" in how_sure(compared)) == (compared["seeds"] == 1)


def check_pairs(compared):
    told = {each["depth"]: each["behind"] for each in compared["alike"]}
    assert all(holds_nothing(behind) for behind in told.values())
    for pair in compared["pairs"]:
        for score in ("macro_f1", "accuracy"):
            found = pair[score]
            assert holds_nothing(found) == (found["p_simultaneous"] >= 0.05)
            assert (found["low"] <= 0 <= found["high"]) == (found["p"] >= 0.05)
        if compared["best"] in (pair["a"], pair["b"]):
            other = pair["b"] if pair["a"] == compared["best"] else pair["a"]
            assert holds_nothing(pair["macro_f1"]) == (other not in compared["apart"])
    assert compared["recommended"] in compared["set"] or compared["sure"]


def check_claims(found):
    for network in found[0]["numbers"]:
        if network["better"] == SUPPORTED:
            assert network["low_simultaneous"] > 0
    if found[4]["verdict"] == SUPPORTED:
        assert all(each["low_simultaneous"] > 0 for each in found[4]["numbers"]["pairs"])
    if found[3]["verdict"] == CONTRADICTED:
        assert any(each["high_simultaneous"] < 0 for each in found[3]["numbers"]["pairs"])
    if found[2]["verdict"] == SUPPORTED:
        sets = [set(each["set"]) for each in found[2]["numbers"]["depths"]]
        assert any(not one & other for one in sets for other in sets)


def test_the_shallowest_of_equal_depths_is_recommended_where_that_is_sure():
    truth = Truth(((0.7, 0.8, 0.8, 0.8, 0.8),), 40_000, 3, 0.001)
    (contest,) = contests(truth, np.random.default_rng(3))
    assert (contest.recommended.depth, contest.unsure) == (5, None)
    assert "is the shallowest that is surely within 0.01 of the best" in how_sure(comparison(contest))
    exact = Contest(contest.candidates, contest.sample, margin=0.0)
    assert exact.unsure == "too few objects or seeds"
    assert set(comparison(exact)["set"]) >= {5, 10, 15, 20}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([1000], "the training images are the same for all seeds"),
        ([300], "A seed draws the training images, the first weights"),
        ([300, 1000], "with all 1,000 images, these are the same for all seeds"),
    ],
)
def test_what_a_seed_draws_is_said(sizes, words):
    assert words in redrawn(
        {"objects": {"train": 1000}, "rows": [{"train_size": size, "inputs": "images"} for size in sizes]}
    )


def test_a_mobile_network_with_other_weights_is_no_larger_network():
    """Claim 5 is about the networks of the paper, with ImageNet weights."""
    found = contests(Truth(((0.6, 0.7), (0.6, 0.7)), 300, 3, 0.01), np.random.default_rng(5))
    networks = contested(found, ("mobilenetv2", "mobilenetv2"))
    networks[1].names["weights"] = "random"
    verdict = claims(networks)[4]
    assert (verdict["verdict"], "no other network" in verdict["why"]) == ("cannot be told", True)
