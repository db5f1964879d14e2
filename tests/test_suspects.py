"""Suspect labels: how many are wrong, which they are, and that a clean set shows no sign of any."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from helpers_run import CLASSES, World, make_run, sample_of
from skythaw.report.report_facts import report_facts
from skythaw.report.statistics.failures import mistakes
from skythaw.report.statistics.suspect_labels import suspect_labels
from skythaw.study.ledger import Ledger


def world(seed, objects=1800, wrong=43, sharpness=6.0):
    """Log-probabilities of an honest network, and labels of which some are wrong."""
    rng = np.random.default_rng(seed)
    log_p = log_softmax(sharpness * rng.normal(size=(objects, 3)), axis=1)
    label = (np.exp(log_p).cumsum(1) < rng.random((objects, 1))).sum(1).clip(0, 2)
    bad = rng.choice(objects, wrong, replace=False)
    label[bad] = (label[bad] + rng.integers(1, 3, wrong)) % 3
    return log_p, label, np.isin(np.arange(objects), bad)


@pytest.mark.soak
def test_the_number_of_planted_wrong_labels_is_covered_and_most_suspects_are_wrong():
    covered = []
    for seed in range(6):
        log_p, label, bad = world(seed)
        found = suspect_labels(log_p, label)
        assert found.sign
        assert bad[found.wrong > 0.5].mean() > 0.6
        covered.append(found.expected["low"] <= 43 <= found.expected["high"])
    assert np.mean(covered) >= 0.85


@pytest.mark.soak
def test_a_network_that_is_too_sure_is_no_sign_of_wrong_labels():
    for seed in range(6):
        log_p, label, _ = world(seed, wrong=0)
        for temperature in (0.5, 1.0, 2.0):
            found = suspect_labels(log_p / temperature, label)
            assert not found.sign
            assert found.expected["low"] == 0 == found.wrong.max()


def test_the_least_believed_label_is_listed_first():
    """The order of cleanlab 2.9: `get_label_quality_scores(labels, p, method="self_confidence")`."""
    p = np.array([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.01, 0.5, 0.49], [0.3, 0.3, 0.4], [0.6, 0.3, 0.1]])
    label = np.array([0, 0, 0, 1, 2])
    cleanlab = [0.9, 0.2, 0.01, 0.3, 0.1]
    found = mistakes([np.log(p)], sample_of(label, {"k": label}, classes=CLASSES))
    order = [int(each["object_id"]) for each in found["listed"]]
    assert order == [i for i in np.argsort(cleanlab) if i != 0]
    assert [each["p_label"] for each in found["listed"]] == pytest.approx(sorted(cleanlab)[:4])
    assert found["wrong"] == 4


def test_the_mean_of_the_seeds_counts_and_nothing_is_lost_where_they_are_very_sure():
    both = [np.array([[0.0, -400.0]] * 4), np.array([[-400.0, 0.0]] * 4)]
    found = mistakes(both, sample_of([0, 0, 1, 1], {"k": [0, 0, 1, 1]}))
    assert (found["wrong"], found["sign"]) == (0, False)


def test_a_report_judges_the_labels_of_test_and_of_validation(tmp_path):
    with Ledger.read(make_run(tmp_path, World({"mobilenetv2": {0: 1.0, 3: 2.0}}, objects=900))) as ledger:
        found = report_facts(ledger)["failures"]
    for part in (found, found["validation"]):
        assert part["wrong_labels"]["low"] <= part["wrong_labels"]["mean"] <= part["wrong_labels"]["high"]
        assert part["sign"] or not part["suspects"]
