"""What more images would give: laws whose truth is known, and those that are not given."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from trust_lines import LAWS, LawWorld, law_line

from helpers_run import World, make_run
from skythaw.report.report_facts import report_facts
from skythaw.report.sentences import size_sentences
from skythaw.report.statistics.size_law import size_curve
from skythaw.study.ledger import Ledger

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "report.schema.json").read_text())
SIZES = [100, 400, 1600, 6400]


def draws_of(scores, spread=0.001):
    """Draws of scores that are known well."""
    draws = np.asarray(scores)[:, None] + np.random.default_rng(0).normal(0, spread, (len(scores), 501))
    draws[:, 0] = scores
    return draws


def test_a_law_that_is_known_well_is_found():
    error = 0.1 + 2.0 * np.array(SIZES, dtype=float) ** -0.5
    found = size_curve(SIZES, draws_of(1 - error), 3)
    for name, truth in {"exponent": 0.5, "floor": 0.1}.items():
        assert found[name]["low"] < truth < found[name]["high"]
        assert found[name]["mean"] == pytest.approx(truth, rel=0.05)
    assert found["twice"] == 12800
    assert found["macro_f1"]["mean"] == pytest.approx(1 - 0.1 - 2.0 * 12800**-0.5, abs=1e-3)
    assert found["residual"] < 2e-3
    assert found["test"]["found"] == pytest.approx(1 - error[-1])


@pytest.mark.parametrize("world", LAWS[:2])
def test_the_gain_is_covered_though_there_is_a_floor(world):
    line = law_line(world, 40)
    assert line.share >= 0.88, line


def test_where_nothing_is_gained_the_interval_touches_0():
    line = law_line(LawWorld(0.2, 0.0, 0.5, (300, 1000, 3000)), 40)
    assert line.share >= 0.88, line


@pytest.mark.parametrize(
    ("sizes", "scores", "seeds", "why"),
    [
        ([100, 400], [0.6, 0.7], 3, "three training sizes or more"),
        ([100, 400, 1600], [0.6, 0.7, 0.75], 1, "with one seed"),
        ([100, 400, 1600], [0.6, 0.7, 0.6], 3, "does not predict the largest"),
        ([100, 400, 1600], [0.6, 0.61, 0.9], 3, "does not predict the largest"),
    ],
)
def test_a_law_that_nothing_supports_is_not_given(sizes, scores, seeds, why):
    found = size_curve(sizes, draws_of(scores, 0.01), seeds)
    assert why in found["why"]
    assert "gain" not in found


@pytest.mark.soak
@pytest.mark.parametrize(
    ("sizes", "seeds", "says"),
    [
        ((300, 1000, 3000), (0, 1, 2), "2 x the images"),
        ((300, 1000), (0, 1, 2), "three training sizes or more"),
        ((300, 1000, 3000), (0,), "with one seed"),
        ((300,), (0,), ""),
    ],
)
def test_a_report_gives_a_law_or_says_why_not(tmp_path, sizes, seeds, says):
    world = World({"mobilenetv2": {0: 1.0, 5: 1.6}}, objects=900, groups=300, sizes=sizes, seeds=seeds)
    with Ledger.read(make_run(tmp_path, world)) as ledger:
        facts = json.loads(json.dumps(report_facts(ledger, 0.04)))
    jsonschema.validate(facts, SCHEMA)
    text = " ".join(size_sentences(facts))
    if says == "2 x the images":
        (curve,) = facts["size_curves"]
        assert (curve["sizes"], curve["twice"]) == (list(sizes), 6000)
        assert "6,000 images would give macro-F1" in text
    else:
        assert not facts["size_curves"]
        assert says in text
        assert bool(text) == bool(says)
