"""The numbers of a report, from ledgers made by hand and from one written by an earlier version."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from skythaw.report.report_facts import report_facts
from skythaw.report.sentences import data_sentences
from skythaw.spec import Pixels, Recipe
from skythaw.study.ledger import Ledger
from test_ledger import result
from test_spec import cell

ASSETS = Path(__file__).parent / "assets"
SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "report.schema.json").read_text())
CLASSES = ("A", "B")
SENTENCES = ("why",)
JUDGED = {
    *("low", "high", "p", "p_holm", "best_in", "share", "rule", "not_shown", "alike", "apart", "behind"),
    *(
        "objects_needed",
        "objects_for_better",
        "objects_for_alike",
        "ece",
        "suspects",
        "listed",
        "verdict",
        "numbers",
        "recommended",
    ),
}
"""What a newer version may judge otherwise, from the same scores."""


def scores(f1):
    one = {"precision": f1, "recall": f1, "f1": f1, "support": 10}
    return {"macro_f1": f1, "accuracy": f1, "balanced_accuracy": f1, "log_loss": 1 - f1} | {
        "per_class": dict.fromkeys(CLASSES, one)
    }


def report_of(folder, cells, axes=(), probe=None):
    """The report on cells, each with its scores on validation and test; at depth 0 a probe may have scores, too."""
    grid = {"backbone": ["mobilenetv2"], "depth": [0, 1], "lr": [1e-3]} | {name: [] for name in axes}
    with Ledger.create(folder, {"grid": grid}, [(c, 1.0) for c, _, _ in cells]) as ledger, ledger.runner() as runner:
        ledger.note("name", "by hand")
        ledger.note("classes", CLASSES)
        for c, validation, test in cells:
            ledger.claim(c.key, runner)
            both = {"validation": scores(validation), "test": scores(test)}
            changes = {
                "scores": both,
                "peak_score": validation,
                "lr": 1e-3 if c.recipe.lr == "auto" else c.recipe.lr,
                "blocks": 4,
            }
            if probe is not None and c.depth == 0:
                changes["probe"] = {"strength": 1.0, "scores": dict.fromkeys(("validation", "test"), scores(probe))}
            ledger.add(c.key, result(c.key).model_copy(update=changes))
        return report_facts(ledger)


def test_a_row_is_the_mean_over_seeds_with_its_spread(tmp_path):
    found = report_of(tmp_path, [(cell(seed=s), v, t) for s, v, t in ((0, 0.6, 0.5), (1, 0.6, 0.6), (2, 0.6, 0.7))])
    (row,) = found["rows"]
    assert row["seeds"] == 3
    assert row["macro_f1"] == {"mean": pytest.approx(0.6), "std": pytest.approx(0.1), "low": None, "high": None}
    assert row["validation_macro_f1"]["std"] == pytest.approx(0)


def test_one_seed_has_no_spread(tmp_path):
    (row,) = report_of(tmp_path, [(cell(), 0.6, 0.5)])["rows"]
    assert row["macro_f1"] == {"mean": 0.5, "std": None, "low": None, "high": None}


def test_the_rate_is_chosen_on_validation_not_on_test(tmp_path):
    good, lucky = Recipe(lr=1e-3), Recipe(lr=1e-2)
    (row,) = report_of(tmp_path, [(cell(recipe=good), 0.8, 0.5), (cell(recipe=lucky), 0.7, 0.9)])["rows"]
    assert row["lr"]["mean"] == 1e-3
    assert row["macro_f1"]["mean"] == 0.5


def test_the_rate_is_one_for_all_seeds_of_a_row(tmp_path):
    cells = [
        (cell(seed=s, recipe=Recipe(lr=lr)), v, 0.5)
        for s, lr, v in ((0, 1e-3, 0.9), (1, 1e-3, 0.5), (0, 1e-2, 0.8), (1, 1e-2, 0.8))
    ]
    (row,) = report_of(tmp_path, cells)["rows"]
    assert (row["lr"], row["seeds"]) == ({"mean": 1e-2, "std": 0}, 2)


def test_the_depth_is_chosen_on_validation_the_shallower_on_a_tie(tmp_path):
    found = report_of(tmp_path, [(cell(depth=1), 0.8, 0.5), (cell(depth=2), 0.7, 0.9), (cell(depth=3), 0.8, 0.6)])
    (choice,) = found["recommended"]
    assert choice["depth"] == 1


def test_fewer_seeds_do_not_compete(tmp_path):
    """One lucky seed of a rate, or a depth, whose other seeds failed must not beat a complete row."""
    lucky, whole = Recipe(lr=1e-2), Recipe(lr=1e-3)
    cells = [(cell(recipe=lucky), 0.9, 0.5), *((cell(seed=s, recipe=whole), 0.6, 0.5) for s in (0, 1))]
    found = report_of(tmp_path / "rates", cells)
    assert found["rows"][0]["lrs"] == [1e-3]
    found = report_of(tmp_path / "depths", [(cell(depth=2), 0.9, 0.5), *((cell(seed=s), 0.6, 0.5) for s in (0, 1))])
    assert found["recommended"][0]["depth"] == 3


@pytest.mark.parametrize(("probe", "half_trained"), [(0.655, True), (0.605, False), (0.5, False), (None, False)])
def test_a_frozen_network_that_was_not_trained_long_enough_is_not_converged(tmp_path, probe, half_trained):
    """In older runs: a head solved exactly on the same features shows it. Else deeper depths would look better."""
    cells = [(cell(depth=d, seed=s), 0.6, v) for d, v in ((0, 0.6), (1, 0.7)) for s in (0, 1)]
    frozen, deeper = report_of(tmp_path, cells, probe=probe)["rows"]
    assert frozen["converged"] != half_trained
    assert deeper["converged"]
    if half_trained:
        assert frozen["not_converged"] == [
            "a head that is solved exactly has macro-F1 0.655 on validation, this one 0.600"
        ]


def test_further_axes_have_rows_and_compete(tmp_path):
    small, large = Pixels(crop=32, size=64), Pixels(crop=64, size=64)
    cells = [(cell(depth=d, pixels=p), v, 0.5) for d, p, v in ((0, small, 0.5), (0, large, 0.6), (1, small, 0.7))]
    found = report_of(tmp_path, cells, axes=["crop"])
    assert [(row["depth"], row["crop"]) for row in found["rows"]] == [(0, 32), (0, 64), (1, 32)]
    assert [(c["depth"], c["crop"]) for c in found["recommended"]] == [(1, 32)]


def test_a_training_that_diverged_never_wins(tmp_path):
    cells = [(cell(recipe=Recipe(lr=1e-2)), None, 0.9), (cell(recipe=Recipe(lr=1e-3)), 0.1, 0.1)]
    with Ledger.create(tmp_path, {"grid": {"lr": [1]}}, [(c, 1.0) for c, _, _ in cells]) as ledger:
        with ledger.runner() as runner:
            for c, peak, test in cells:
                ledger.claim(c.key, runner)
                both = {"validation": scores(0.9), "test": scores(test)}
                changes = {
                    "scores": both,
                    "peak_score": peak,
                    "lr": c.recipe.lr,
                    "peak_epoch": 0 if peak is None else 1,
                }
                ledger.add(c.key, result(c.key).model_copy(update=changes))
        (row,) = report_facts(ledger)["rows"]
    assert row["lr"]["mean"] == 1e-3


def says(new, old):
    """Whether a report has all scores that an old one had. Sentences, and what is concluded, may be other ones."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            name in JUDGED or (name in new and (name in SENTENCES or says(new[name], old[name]))) for name in old
        )
    if isinstance(old, list):
        return len(new) == len(old) and all(says(a, b) for a, b in zip(new, old, strict=True))
    return new == (pytest.approx(old, rel=1e-5, abs=1e-7) if isinstance(old, float) else old)


@pytest.mark.parametrize(
    ("split", "test", "says"),
    [
        ({"by": "random", "seed": 3}, None, "random (seed 3), object by object, so test objects may lie on the same"),
        ({"by": "random", "seed": 3}, "0" * 64, "The test set is a data set of its own. The other data are"),
        ({"by": "field", "seed": 0}, None, "by fields of the survey (seed 0): objects of one group stay together"),
        ({"by": "healpix", "nside": 32, "seed": 0}, None, "by pixels of the sky (HEALPix, nside = 32)"),
        ({"by": "plate", "seed": 0}, None, "by the column plate"),
    ],
)
def test_what_is_said_of_the_split_is_true_of_the_run(split, test, says):
    facts = {"data": {"split": split, "sha256": {"data": "1" * 64, "test": test}}, "method": None}
    text = data_sentences(facts)[0]
    assert says in text
    assert ("same sky" in text) == (split["by"] == "random" and test is None)


@pytest.mark.parametrize("name", ["run-1", "run-2"])
def test_a_run_folder_of_an_earlier_version_still_gives_its_report(tmp_path, name):
    """Never make these files anew: what was written then must be readable for ever.

    Folder 1 has no predictions, and was reported on before there were intervals.
    """
    shutil.copytree(ASSETS / name, tmp_path / name)
    with Ledger.read(tmp_path / name) as ledger:
        found = json.loads(json.dumps(report_facts(ledger)))
    before = json.loads((ASSETS / name / "report.json").read_text())
    assert set(before.pop("warnings")) <= set(found["warnings"])
    for part, value in before.items():
        assert says(found[part], value), part
    jsonschema.validate(found, SCHEMA)


def test_a_report_that_says_something_else_is_found():
    old = {"a": [{"b": 1.0}]}
    assert says({"a": [{"b": 1.0, "c": 2}]}, old)
    for new in ({"a": [{"b": 1.1}]}, {"a": []}, {}, {"a": [{"c": 1.0}]}):
        assert not says(new, old)
