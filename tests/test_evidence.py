"""What a report concludes, on studies of which the truth is known."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from helpers_run import CLASSES, World, make_run, sample_of
from skythaw.report.page.report_tables import other_choices
from skythaw.report.recommendations import main_recommendations
from skythaw.report.report_facts import report_facts
from skythaw.report.sentences import depths_compared, method, separation
from skythaw.report.statistics.claims import CONTRADICTED, SUPPORTED, UNKNOWN
from skythaw.report.statistics.failures import errors_by_column
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.cell_predictions import predictions_path
from skythaw.stats.object_table import objects_path
from skythaw.stats.scored_sample import read_sample
from skythaw.study.ledger import Ledger

ONE = World(
    {"mobilenetv2": {0: 1.0, 3: 2.0, 6: 2.03, 10: 2.03}}, objects=1500, groups=300, seeds=(0, 1, 2, 3), seed_spread=0.02
)
SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "report.schema.json").read_text())


def facts_of(folder, margin=0.04):
    with Ledger.read(folder) as ledger:
        return json.loads(json.dumps(report_facts(ledger, margin)))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("one"), ONE)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """One network gains from every block, the other from none."""
    world = World(
        {"resnet50": {0: 1.0, 5: 1.6, 10: 2.4}, "mobilenetv2": {0: 1.5, 5: 1.5, 10: 1.5}},
        objects=1500,
        groups=300,
        sizes=(300, 1000),
        seed_spread=0.02,
        alarm="collapsed",
    )
    return make_run(tmp_path_factory.mktemp("two"), world)


def test_the_shallowest_depth_that_is_as_good_is_recommended(one):
    found = facts_of(one)
    (compared,) = found["comparisons"]
    assert (compared["recommended"], compared["rule"]) == (3, "shallowest not worse")
    assert compared["apart"] == [0]
    assert {each["depth"] for each in compared["alike"]} == {3, 6, 10} - {compared["best"]}
    (choice,) = found["recommended"]
    assert (choice["depth"], choice["how"]) == (3, "test")
    assert choice["macro_f1"]["low"] < choice["macro_f1"]["mean"] < choice["macro_f1"]["high"]


def test_one_depth_alone_is_compared_with_nothing(tmp_path):
    """As after a search."""
    found = facts_of(make_run(tmp_path, replace(ONE, skills={"mobilenetv2": {3: 2.0}}, seeds=(0,))))
    (compared,) = found["comparisons"]
    assert (compared["recommended"], compared["pairs"], compared["alike"]) == (3, [], [])
    assert "nothing to compare it with" in depths_compared(compared)
    assert separation(compared) == ""
    said = depths_compared(compared)
    assert said.startswith(
        "No other depth was trained in full, so there is nothing to compare it with. Validation alone"
    )
    assert found["claims"][0]["why"].startswith("There is one seed")
    jsonschema.validate(found, SCHEMA)


def test_without_a_margin_there_is_a_guess_among_those_that_may_be_best(one):
    (compared,) = facts_of(one, margin=0.0)["comparisons"]
    assert (compared["sure"], compared["unsure"]) == (False, "too few objects or seeds")
    assert compared["rule"] == "best guess"
    assert compared["recommended"] in compared["set"] == [3, 6, 10]


def test_a_depth_that_lacks_a_seed_does_not_win(one, tmp_path):
    """Nor does it vanish: its row and its pairs are there."""
    world = replace(ONE, skills={"mobilenetv2": {0: 1.0, 3: 2.0}}, seeds=(0, 1))
    make_run(tmp_path, world)
    with Ledger.read(tmp_path) as ledger:
        lost = next(e.key for e in ledger.entries() if e.cell.depth == 3)
    predictions_path(tmp_path, lost).unlink()
    found = facts_of(tmp_path)
    (compared,) = found["comparisons"]
    assert compared["recommended"] == 0
    assert compared["incomplete"] == [3]
    assert "surely" not in found["answer"]
    assert found["method"]["missing"] == 1
    assert [row["depth"] for row in found["rows"]] == [0, 3]
    assert found["rows"][1]["macro_f1"]["low"] is None
    assert found["rows"][1]["macro_f1"]["mean"] > 0.5


def test_every_pair_of_depths_is_compared_once(one):
    (compared,) = facts_of(one)["comparisons"]
    assert [(p["a"], p["b"]) for p in compared["pairs"]] == [(0, 3), (0, 6), (0, 10), (3, 6), (3, 10), (6, 10)]
    first = compared["pairs"][0]
    assert first["macro_f1"]["difference"] > 0.1
    assert first["macro_f1"]["p"] < first["macro_f1"]["p_simultaneous"] < 1e-6
    assert [each["seed"] for each in first["mcnemar"]] == [0, 1, 2, 3]
    assert all(each["only_b"] > each["only_a"] and each["p"] < 1e-4 for each in first["mcnemar"])


def test_the_claims_of_two_networks_that_differ(two):
    """One gains from depth and one does not: every verdict that this study can give is the truth."""
    found = facts_of(two)
    verdicts = {each["number"]: each["verdict"] for each in found["claims"]}
    assert verdicts[1] == SUPPORTED
    assert "resnet50" in found["claims"][0]["why"].split(".")[0]
    assert verdicts[3] == UNKNOWN  # all blocks are surely the best choice for one, and may be for the other
    assert [each["set"] for each in found["claims"][2]["numbers"]["depths"]] == [[10], [0, 5, 10]]
    assert verdicts[5] == SUPPORTED
    assert verdicts[4] == verdicts[6] == UNKNOWN
    assert [each["verdict"] for each in found["claims"]] == [verdicts[n] for n in range(1, 7)]


def test_claims_are_contradicted_where_the_opposite_is_sure(tmp_path):
    """Depth changes nothing, in a large network and in a mobile one that is as good."""
    same = {0: 1.8, 5: 1.8, 10: 1.8}
    world = World({"resnet50": same, "mobilenetv2": same}, objects=6000, groups=3000, seed_spread=0.0)
    verdicts = {each["number"]: each["verdict"] for each in facts_of(make_run(tmp_path, world), 0.03)["claims"]}
    assert (verdicts[1], verdicts[2], verdicts[3], verdicts[5]) == (CONTRADICTED, SUPPORTED, CONTRADICTED, CONTRADICTED)


@pytest.mark.soak
def test_the_peaks_of_the_groups_of_the_seed_study(tmp_path):
    low, high = {0: 1.0, 5: 1.5}, {0: 1.0, 5: 2.2}
    skills = {"densenet121": high, "xception": high, "vgg16": low, "resnet50": low}
    world = World(skills, objects=1500, groups=500)
    claim = facts_of(make_run(tmp_path, world))["claims"][3]
    assert claim["verdict"] == UNKNOWN  # higher, but by the made-up curves neither earlier nor with a smaller gap ...
    assert len(claim["numbers"]["pairs"]) == 4
    assert all(each["low_simultaneous"] > 0 for each in claim["numbers"]["pairs"])
    turned = replace(world, skills=dict(zip(skills, (low, low, high, high), strict=True)))
    assert facts_of(make_run(tmp_path / "turned", turned))["claims"][3]["verdict"] == CONTRADICTED
    alone = replace(world, skills={name: skills[name] for name in ("densenet121", "vgg16", "resnet50")})
    claim = facts_of(make_run(tmp_path / "alone", alone))["claims"][3]
    assert (claim["verdict"], claim["why"][:27]) == (UNKNOWN, "The study has less than two")


def test_too_few_objects_leave_it_open_and_say_how_many_it_takes(tmp_path):
    world = World({"mobilenetv2": {0: 1.6, 3: 1.8, 5: 1.85}}, objects=200, groups=200)
    found = facts_of(make_run(tmp_path, world))
    assert found["claims"][0]["verdict"] == UNKNOWN
    assert "it takes about" in found["claims"][0]["why"]
    (compared,) = found["comparisons"]
    far = max(compared["alike"], key=lambda each: each["behind"]["difference"])
    assert far["objects_needed"] >= 200
    assert far["seeds_needed"] > 3
    assert f"objects and {far['seeds_needed']} seeds show it in four of five studies" in separation(compared)
    assert "200 test objects do not tell the best depth" in separation(compared)


def test_one_seed_tells_of_these_networks_alone(tmp_path):
    found = facts_of(make_run(tmp_path, replace(ONE, seeds=(0,))))
    (recommended,) = main_recommendations(found)
    compared = recommended.comparison
    assert (compared["sure"], compared["unsure"]) == (False, "one seed")
    assert {each["verdict"] for each in found["claims"]} == {UNKNOWN}
    assert all(each["objects_needed"] is each["seeds_needed"] is None for each in compared["alike"])
    assert "for these trained networks only, and how sure it is cannot be told" in depths_compared(compared)
    assert "Of these trained networks alone: " in separation(compared)
    assert "it is not known how seeds differ" in method(found)


def test_a_depth_that_has_not_converged_is_never_called_worse(tmp_path):
    """Depth 0 is far behind, but its training is not finished: nothing rests on it."""
    found = facts_of(make_run(tmp_path, replace(ONE, short=(0,))))
    (recommended,) = main_recommendations(found)
    compared = recommended.comparison
    row = next(row for row in found["rows"] if row["depth"] == 0)
    assert (row["converged"], row["not_converged"]) == (False, ["best at the end: epoch 5 of 5"])
    assert (compared["apart"], compared["not_converged"]) == ([], [0])
    assert 0 in compared["set"]
    assert (compared["sure"], compared["unsure"]) == (False, "not converged")
    assert [pair["converged"] for pair in compared["pairs"]] == [False] * 3 + [True] * 3
    assert next(each for each in compared["alike"] if each["depth"] == 0)["objects_needed"] is None
    for claim in found["claims"][:2]:
        assert (claim["verdict"], claim["why"]) == (UNKNOWN, "It can't be told in mobilenetv2 (depth 0 not converged).")
    assert "The training of depth 0 is not finished" in depths_compared(compared)
    assert found["choice"]["above_frozen"] is None
    assert "whether it is better than the same network left frozen" in found["answer"]
    assert "whether 0" not in found["answer"], "it is the same network left frozen, which is named already"
    told = separation(compared)
    assert "Depth 0 has not converged and is never called worse." in told
    assert "do not tell the best depth (10) from depths 3 and 6." in told, "depth 0 is far behind as it is"
    alone = compared | {"alike": [each for each in compared["alike"] if each["depth"] == 0]}
    assert separation(alone).startswith("As they are trained now, the test set tells the best depth from every other.")


NETWORKS = {"resnet50": {0: 1.0, 5: 2.2, 10: 1.0}, "vgg16": {0: 1.8, 5: 2.2, 10: 1.8}}


@pytest.mark.parametrize(
    ("skills", "short", "verdict"),
    [
        (NETWORKS, (), CONTRADICTED),
        ({**NETWORKS, "vgg16": {0: 1.0, 5: 1.0, 10: 2.2}}, (), SUPPORTED),
        ({**NETWORKS, "vgg16": {0: 1.0, 5: 1.0, 10: 2.2}}, (10,), UNKNOWN),
        (NETWORKS, (0,), UNKNOWN),
    ],
    ids=["one best depth and unequal gains", "two best depths", "one of them not converged", "another not converged"],
)
def test_claim_three_is_about_the_best_depth(tmp_path, skills, short, verdict):
    world = World(skills, objects=1500, groups=500, seed_spread=0.02, short=short)
    assert facts_of(make_run(tmp_path, world))["claims"][2]["verdict"] == verdict


def test_errors_rise_towards_faint_objects(one):
    found = facts_of(one)["failures"]
    (column,) = found["columns"]
    assert column["column"] == "psfMag_r"
    assert sum(each["objects"] for each in column["bins"]) == column["objects"] == 1500
    errors = [each["error"] for each in column["bins"]]
    assert np.mean(errors[-2:]) > np.mean(errors[:2]) + 0.05
    assert all(each["low"] <= each["error"] <= each["high"] for each in column["bins"])


def test_a_column_without_numbers_is_left_out():
    sample = replace(
        sample_of([0, 1] * 50, {"k": [0, 1] * 50}),
        numbers={
            "empty": np.full(100, np.nan),
            "same": np.ones(100),
            "name": np.arange(100.0),
            "x": np.r_[np.full(20, np.nan), np.arange(80.0) / 3],
            "flag": np.arange(100.0) % 2,
        },
    )
    x, flag = errors_by_column(("k",), Bootstrap(sample, 20))
    assert (x["column"], x["objects"], sum(each["objects"] for each in x["bins"])) == ("x", 80, 80)
    assert [(each["from"], each["to"], each["objects"]) for each in flag["bins"]] == [(0.0, 0.0, 50), (1.0, 1.0, 50)]


def test_what_other_choices_would_recommend(tmp_path):
    world = replace(ONE, rates=(1e-3, 1e-2), skills={"mobilenetv2": {0: 1.0, 3: 1.5, 6: 2.2}})
    found = facts_of(make_run(tmp_path, world))
    (compared,) = found["comparisons"]
    robust = compared["robust"]
    assert compared["recommended"] == 6
    assert robust["metric"] == {"macro_f1": 6, "accuracy": 6, "balanced_accuracy": 6, "log_loss": 6}
    assert robust["seeds"] == {"0": 6, "1": 6, "2": 6, "3": 6}
    assert robust["lr"] == {"0.001": 6, "0.01": 6}
    assert dict(other_choices(compared))["one seed less"] == "the same depth (6) every time"
    robust["seeds"]["1"] = 3
    assert dict(other_choices(compared))["one seed less"] == "depth 6, but 3 (without seed 1)"


def test_early_signs_are_set_against_the_exact_answer(one):
    (compared,) = facts_of(one)["comparisons"]
    signs = compared["early_signs"]
    scores = {row["depth"]: row["macro_f1"]["mean"] for row in facts_of(one)["rows"]}
    deepest = signs["depth (deeper is better)"]
    assert deepest["regret"] == pytest.approx(max(scores.values()) - scores[10], abs=1e-6)
    assert deepest["correlation"] == pytest.approx(spearmanr(list(scores), list(scores.values())).statistic)
    assert len(signs) == 7


def test_the_estimate_by_validation_is_the_test_score_of_its_choice(one):
    found = facts_of(one)
    nested = found["comparisons"][0]["nested"]
    best = max(found["rows"], key=lambda row: row["validation_macro_f1"]["mean"])
    assert nested["depth"] == best["depth"]
    assert nested["macro_f1"]["mean"] == pytest.approx(best["macro_f1"]["mean"])
    assert (nested["macro_f1"]["low"], nested["macro_f1"]["high"]) == (
        best["macro_f1"]["low"],
        best["macro_f1"]["high"],
    )


def test_a_run_without_objects_says_that_they_were_drawn_singly(one, tmp_path):
    make_run(tmp_path, replace(ONE, skills={"mobilenetv2": {0: 1.0, 3: 1.5}}))
    objects_path(tmp_path).unlink()
    found = facts_of(tmp_path)
    assert found["method"]["drawn"] == "objects"
    assert "Objects were drawn singly" in method(found)
    assert "Run the study again to keep that too" in method(found)
    assert "Objects were drawn singly" not in method(facts_of(one))
    assert facts_of(one)["method"]["groups"] == 300


def test_objects_without_places_do_not_promise_that_another_run_helps(tmp_path):
    """Case R01: neither positions nor fields, so no run can know more."""
    make_run(tmp_path, replace(ONE, skills={"mobilenetv2": {0: 1.0, 3: 1.5}}))
    for group, says in ((-1, "neither positions (ra, dec) nor fields"), (7, "all of them lie in one group")):
        table = pq.read_table(objects_path(tmp_path))
        column = pa.array([group] * len(table), pa.int64())
        table = table.set_column(table.column_names.index("group"), "group", column)
        pq.write_table(table, objects_path(tmp_path))
        text = method(facts_of(tmp_path))
        assert "Objects were drawn singly" in text
        assert says in text
        assert "again" not in text


def test_a_damaged_file_of_objects_is_named(tmp_path):
    from skythaw.errors import LedgerError

    make_run(tmp_path, replace(ONE, skills={"mobilenetv2": {0: 1.0, 3: 1.5}}))
    objects_path(tmp_path).write_bytes(b"PAR1 torn")
    with pytest.raises(LedgerError, match=r"objects\.parquet.*remove it, and run the study again"):
        facts_of(tmp_path)


def test_objects_in_another_order_are_put_in_order(one, tmp_path):
    shutil.copytree(one, tmp_path / "run")
    table = pq.read_table(objects_path(one))
    pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), objects_path(tmp_path / "run"))
    assert facts_of(tmp_path / "run") == facts_of(one)


def test_predictions_that_are_no_numbers_are_left_out(tmp_path):
    make_run(tmp_path, replace(ONE, skills={"mobilenetv2": {0: 1.0, 3: 1.5}}))
    with Ledger.read(tmp_path) as ledger:
        key = ledger.entries()[0].key
    table = pq.read_table(predictions_path(tmp_path, key))
    broken = table.set_column(table.column_names.index("p_QSO"), "p_QSO", pa.array(np.full(len(table), np.nan, "f4")))
    pq.write_table(broken, predictions_path(tmp_path, key))
    found = facts_of(tmp_path)
    assert found["method"]["missing"] == 1
    json.dumps(found, allow_nan=False)


def test_where_no_line_has_all_its_predictions_validation_recommends(tmp_path):
    make_run(tmp_path, replace(ONE, skills={"mobilenetv2": {0: 1.0, 3: 1.5}}))
    with Ledger.read(tmp_path) as ledger:
        for entry in ledger.entries():
            if entry.cell.seed == 0:
                predictions_path(tmp_path, entry.key).unlink()
    found = facts_of(tmp_path)
    assert found["method"] is None
    assert [(each["depth"], each["how"], each["main"]) for each in found["recommended"]] == [(3, "validation", True)]


def test_predictions_of_other_objects_are_left_out(tmp_path):
    """A file that was put there from another run must not be compared with the others."""
    make_run(tmp_path / "a", replace(ONE, skills={"mobilenetv2": {0: 1.0, 3: 1.5}}))
    make_run(tmp_path / "b", replace(ONE, objects=90, skills={"mobilenetv2": {0: 1.0, 3: 1.5}}))
    with Ledger.read(tmp_path / "a") as ledger:
        keys = [entry.key for entry in ledger.entries()]
    predictions_path(tmp_path / "a", keys[-1]).write_bytes(predictions_path(tmp_path / "b", keys[-1]).read_bytes())
    sample = read_sample(tmp_path / "a", "test", CLASSES, keys)
    assert sample.missing == (keys[-1],)
    assert set(sample.said) == set(keys[:-1])


def test_the_answer_says_what_is_sure_and_what_is_not(one, two):
    (recommended,) = main_recommendations(facts_of(one))
    assert "the shallowest that is surely within 0.04 of the best" in depths_compared(recommended.comparison)
    both = main_recommendations(facts_of(two))
    assert [each.choice["train_size"] for each in both] == [1000, 1000]
    assert depths_compared(both[0].comparison).startswith("Depth 10 is surely the best of the depths that were tried.")
    assert both[0].comparison["recommended"] == 10


@pytest.mark.parametrize("which", ["one", "two"])
def test_the_json_keeps_to_its_schema(which, request):
    jsonschema.validate(facts_of(request.getfixturevalue(which)), SCHEMA)


def test_the_schema_knows_every_name_at_the_top(one):
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"]) == set(facts_of(one))
    assert set(SCHEMA["$defs"]["row"]["properties"]) == set(facts_of(one)["rows"][0])
    assert set(SCHEMA["$defs"]["comparison"]["properties"]) == set(facts_of(one)["comparisons"][0])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({}, SCHEMA)
