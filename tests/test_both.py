"""Numbers beside the images: the control, the numbers alone, and both together, from the study to the report."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from helpers_numbers import make_numbered_survey, write_numbered_study
from skythaw.data.cutouts import read_cutouts
from skythaw.errors import SpecError
from skythaw.report.number_sentences import _class_pairs, control_sentences, input_sentences
from skythaw.report.plain_answer import plain_answer
from skythaw.report.report_facts import report_facts
from skythaw.report.statistics import number_comparison
from skythaw.report.statistics.contenders import apart
from skythaw.report.statistics.photometry_claim import photometry_claim
from skythaw.spec import NUMBER_MODELS, Study
from skythaw.stats.cell_predictions import OUT_OF_FOLD, read_predictions
from skythaw.study.ledger import Ledger
from skythaw.study.number_cells import OpenNumbers, _models, number_cells
from skythaw.study.number_check import check_numbers
from skythaw.study.number_weights import read_number_model
from skythaw.study.open_study import RunSettings, Watcher
from skythaw.study.plan import make_plan
from skythaw.study.run_study import run_study
from skythaw.study.study_data import open_study_data
from skythaw.study.study_status import status
from skythaw.tuning.fusion import MEAN, STACK, best_way, fit_stack, fused, log_loss_of, mean_of
from test_spec import cell


def classifier(true, skill, rng, classes=3):
    """Log-probabilities that are calibrated, and right the more often the larger the skill."""
    logits = rng.normal(size=(len(true), classes))
    logits[np.arange(len(true)), true] += skill
    logits *= skill
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_stack_of_two_independent_classifiers_is_better_than_each(classes):
    rng = np.random.default_rng(0)
    true = rng.integers(classes, size=4000)
    pair = classifier(true, 1.0, rng, classes), classifier(true, 1.5, rng, classes)
    half = np.arange(2000), np.arange(2000, 4000)
    stack = fit_stack((pair[0][half[0]], pair[1][half[0]]), true[half[0]])
    unseen = (pair[0][half[1]], pair[1][half[1]])
    together = stack.log_probabilities(unseen)
    assert np.allclose(np.exp(together).sum(1), 1)
    losses = [log_loss_of(each, true[half[1]]) for each in (together, *unseen)]
    assert losses[0] < min(losses[1:]) - 0.05
    assert best_way({MEAN: log_loss_of(mean_of(unseen), true[half[1]]), STACK: losses[0]}) == STACK


def test_a_stack_does_not_listen_to_noise():
    rng = np.random.default_rng(1)
    true = rng.integers(3, size=3000)
    good, noise = classifier(true, 1.5, rng), rng.normal(size=(3000, 3))
    noise -= np.log(np.exp(noise).sum(1, keepdims=True))
    stack = fit_stack((noise[:1500], good[:1500]), true[:1500])
    alone, together = good[1500:], stack.log_probabilities((noise[1500:], good[1500:]))
    assert log_loss_of(together, true[1500:]) < log_loss_of(alone, true[1500:]) + 0.01


def test_the_mean_is_that_of_the_probabilities():
    a, b = np.log([[0.9, 0.1]]), np.log([[0.3, 0.7]])
    assert np.allclose(np.exp(fused(MEAN, (a, b), None)), [[0.6, 0.4]])


def test_a_cell_on_images_alone_keeps_its_key():
    plain = cell()
    assert "inputs" not in plain.model_dump()
    assert plain.model_copy(update={"inputs": "both"}).on_images_alone == plain
    both = type(plain).model_validate({**plain.model_dump(), "inputs": "both", "numbers_sha256": "a"})
    other = type(plain).model_validate({**plain.model_dump(), "inputs": "both", "numbers_sha256": "b"})
    assert len({plain.key, both.key, other.key}) == 3
    assert both.on_images_alone.key == plain.key


@pytest.mark.parametrize(
    ("inputs", "said"),
    [('["tables"]', "did you mean 'table'"), ('["table"]', "has no network"), ('["both:product"]', "no such inputs")],
)
def test_inputs_that_are_refused(tmp_path, inputs, said):
    make_numbered_survey(tmp_path / "survey.parquet", 12)
    with pytest.raises(SpecError, match=said):
        Study.load(write_numbered_study(tmp_path, replace={'["images", "table", "both"]': inputs}))


ALL = '\ninputs = ["images", "table", "both"]'
UNUSED = {
    "no cell": ({ALL: ""}, "the images alone are used, not columns of [data]: write inputs = "),
    "measured": ({ALL: "", '"modelMag_i"]': '"modelMag_i"]\nmeasured = true'}, "not columns and measured of [data]"),
    "no column": (
        {'columns = ["modelMag_g", "modelMag_r", "modelMag_i"]': 'table = "a.csv"'},
        "catalogue a.csv is used: name",
    ),
    "table": (
        {ALL: "", 'columns = ["modelMag_g", "modelMag_r", "modelMag_i"]': 'table = "a.csv"'},
        "not table of [data]",
    ),
    "extinction of no column": (
        {'columns = ["modelMag_g", "modelMag_r", "modelMag_i"]': 'extinction = { u = "a_u" }\nmeasured = true'},
        "extinction of [data] are of columns, and none is used",
    ),
    "all used": ({}, ""),
    "none named": ({ALL: "", 'columns = ["modelMag_g", "modelMag_r", "modelMag_i"]': ""}, ""),
}


@pytest.mark.parametrize(("changes", "said"), UNUSED.values(), ids=UNUSED)
def test_numbers_that_no_cell_is_given_are_named(tmp_path, changes, said):
    make_numbered_survey(tmp_path / "survey.parquet", 120)
    (tmp_path / "a.csv").write_text("object_id,u\n")
    changes = {**changes, "train_size = [72]": "train_size = [45]"}
    plan = make_plan(Study.load(write_numbered_study(tmp_path, replace=changes)), tmp_path / "cache")
    unused = [text for text in plan.warnings if "used" in text]
    assert len(unused) == bool(said)
    assert not said or said in unused[0]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ran(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("numbered")
    make_numbered_survey(folder / "survey.parquet")
    study = Study.load(write_numbered_study(folder))
    run_study(study, RunSettings(folder / "run", cache, "serial", 1, "cpu"))
    return folder


def ledger_of(run):
    with Ledger.read(run) as ledger:
        return ledger.entries(), ledger.entries("numbers"), report_facts(ledger)


def test_the_cells_are_seen_before_the_control_is_done(tmp_path, cache):
    make_numbered_survey(tmp_path / "survey.parquet", 60)
    study = Study.load(write_numbered_study(tmp_path, replace={"train_size = [72]": "train_size = [24]"}))

    class Looking(Watcher):
        def measuring(self, cells, total):
            with Ledger.read(tmp_path / "run") as ledger:
                seen.append(status(ledger)["cells"])
            raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        run_study(study, RunSettings(tmp_path / "run", cache, "serial", 1, "cpu"), Looking())
    assert seen == [8]


@pytest.mark.soak
def test_a_control_that_fails_stops_no_network_and_is_tried_again(ran, cache, tmp_path, monkeypatch):
    study = Study.load(write_numbered_study_beside(ran, tmp_path, '["images"]'))
    setting, told = RunSettings(tmp_path / "run", cache, "serial", 1, "cpu"), []

    class Listening(Watcher):
        def warned(self, text):
            told.append(text)

    def broken(*given):
        raise MemoryError("no room for a forest")

    with monkeypatch.context() as patched:
        patched.setattr("skythaw.study.number_cells.run_number_cell", broken)
        run_study(study, setting, Listening())
    cells, numbers, facts = ledger_of(tmp_path / "run")
    assert [e.state for e in cells] == ["done"] * 4
    assert [e.state for e in numbers] == ["failed"] * 2
    assert "no room for a forest" in numbers[0].error
    assert "the control of 72 images, seed 0, failed: no room for a forest" in told
    assert facts["choice"]["control"] is None
    run_study(study, setting)
    assert [(e.state, e.attempts) for e in ledger_of(tmp_path / "run")[1]] == [("done", 2)] * 2


def test_every_input_has_its_cells(ran):
    cells, numbers, facts = ledger_of(ran / "run")
    assert [e.cell.inputs for e in cells] == ["images"] * 4 + ["both"] * 4
    assert {(e.cell.backbone, e.cell.seed) for e in numbers} == {
        ("control", 0),
        ("control", 1),
        ("table", 0),
        ("table", 1),
    }
    assert all(e.state == "done" for e in (*cells, *numbers))
    assert {row["inputs"] for row in facts["rows"]} == {"images", "table", "both"}
    assert [row["numbers"] > 10 for row in facts["control"]] == [True]
    assert facts["control"][0]["model"] == "forest"
    assert facts["cells"]["cells"] == 8, "cells without a network are not counted as trainings"


def test_a_cell_of_both_is_made_of_its_two_halves(ran):
    cells, numbers, _ = ledger_of(ran / "run")
    by_key = {e.key: e.result for e in (*cells, *numbers)}
    for entry in cells[4:]:
        result = entry.result
        on_images = by_key[result.made_of["images"]]
        assert result.made_of["images"] == entry.cell.on_images_alone.key
        assert (result.lr, result.curves, result.tpr) == (on_images.lr, on_images.curves, on_images.tpr)
        assert set(result.fusion_losses) == {"mean", "stack"}
        assert result.fusion == min(result.fusion_losses, key=result.fusion_losses.get)
        if result.fusion == "mean":
            halves = [said(ran / "run", key, "test")[1] for key in result.made_of.values()]
            assert np.allclose(said(ran / "run", entry.key, "test")[1], np.mean(halves, axis=0), atol=1e-5)


def said(run, key, part):
    return read_predictions(run, key, part, ("GALAXY", "QSO", "STAR"))


def test_the_numbers_are_judged_by_the_best_of_three_models(ran):
    _, numbers, _ = ledger_of(ran / "run")
    for entry in numbers:
        tried = NUMBER_MODELS if entry.cell.backbone == "table" else ()
        assert entry.cell.number_models == tried
        assert (entry.result.head in tried) == (entry.cell.backbone == "table")
    table = next(e for e in numbers if e.cell.backbone == "table")
    assert read_number_model(ran / "run", table.key).kind == table.result.head
    older = table.cell.model_copy(update={"number_models": ()})
    assert older.key != table.key
    assert "number_models" not in older.model_dump(), "so older cells keep their keys"
    assert _models(older, 3) == ["boosting", "linear"]
    assert _models(table.cell, 3) == list(NUMBER_MODELS)
    many = table.cell.model_copy(update={"train_size": 100_000})
    assert _models(many, 3) == ["boosting", "linear"], "a forest of so many objects is too large for a file"


def test_the_numbers_know_training_objects_only_out_of_fold(ran):
    _, numbers, _ = ledger_of(ran / "run")
    table = next(e for e in numbers if e.cell.backbone == "table")
    labels, p = said(ran / "run", table.key, OUT_OF_FOLD)
    assert len(labels) == 72
    right = (np.array(["GALAXY", "QSO", "STAR"])[p.argmax(1)] == labels).mean()
    assert right < table.result.scores["train"]["accuracy"] - 0.02, "what was learned is told better than what was not"


def test_the_same_run_again_does_nothing(ran, cache):
    before = ledger_of(ran / "run")
    run_study(Study.load(ran / "study.toml"), RunSettings(ran / "run", cache, "serial", 1, "cpu"))
    after = ledger_of(ran / "run")
    assert [e.attempts for e in (*after[0], *after[1])] == [1] * 12
    assert before[2]["rows"] == after[2]["rows"]


@pytest.mark.soak
def test_processes_give_the_same_numbers(ran, cache, tmp_path):
    run_study(Study.load(ran / "study.toml"), RunSettings(tmp_path / "run", cache, "processes", 2, "cpu"))
    here, there = ledger_of(ran / "run"), ledger_of(tmp_path / "run")
    for part in (0, 1):
        assert [e.result.scores for e in here[part]] == [e.result.scores for e in there[part]]


def test_without_a_control_there_is_none(ran, cache, tmp_path):
    study = Study.load(write_numbered_study_beside(ran, tmp_path, '["images"]'))
    run_study(study, RunSettings(tmp_path / "run", cache, "serial", 1, "cpu", control=False))
    _, numbers, facts = ledger_of(tmp_path / "run")
    assert numbers == []
    assert facts["control"] == []
    assert facts["choice"]["control"] is None


def write_numbered_study_beside(ran, folder, inputs):
    text = (ran / "study.toml").read_text().replace('["images", "table", "both"]', inputs)
    file = folder / "study.toml"
    file.write_text(text.replace('"survey.parquet"', f'"{ran / "survey.parquet"}"'))
    return file


def test_how_columns_are_read_is_learned_from_training_objects_alone(tmp_path, cache):
    survey = make_numbered_survey(tmp_path / "survey.parquet")
    changes = {"columns = [": 'table = "c.csv"\ncolumns = ["flux_r"] # ['}
    study = Study.load(write_numbered_study(tmp_path, replace=changes))
    ids = read_cutouts(survey).object_ids
    trained = np.isin(np.arange(len(ids)), open_study_data(study, cache).parts.train)

    def learned(factor):
        """What is learned where all objects but those of the training are so many times as bright."""
        flux = np.linspace(2000, 9000, len(ids)) * np.where(trained, 1, factor)
        lines = [f"{name},{value}" for name, value in zip(ids, flux, strict=True)]
        (tmp_path / "c.csv").write_text("\n".join(["object_id,flux_r", *lines]))
        opened = open_study_data(study, cache)
        said = check_numbers(opened, cache)
        numbers, (cell, *_) = OpenNumbers(opened.study, cache), number_cells(opened.study, opened, control=False)
        objects = numbers.objects(cell)
        values, _ = numbers.values(cell, objects)
        return numbers.kinds(cell, objects), values["train"], said

    kinds, values, said = learned(1)
    others = learned(1e-4)
    assert kinds == others[0] == {"flux_r": "flux/100"}
    np.testing.assert_array_equal(values, others[1])
    assert said == others[2]


def test_a_leak_is_refused_before_anything_is_written(tmp_path, skythaw):
    make_numbered_survey(tmp_path / "survey.parquet", 120, redshift=lambda i, label: 0.1 * i)
    changes = {'"modelMag_i"]': '"modelMag_i", "redshift"]', "train_size = [72]": "train_size = [45]"}
    file = write_numbered_study(tmp_path, replace=changes)
    done = skythaw("study", "run", file, "--out", tmp_path / "run")
    assert (done.returncode, (tmp_path / "run").exists()) == (2, False)
    assert done.stderr.startswith("error: column 'redshift' is a leak: it comes from the spectrum")
    assert "--allow-leak redshift" in done.stderr
    assert done.stderr.count("\n") == 1
    done = skythaw("study", "plan", file, "--allow-leak", "redshift")
    assert done.returncode == 0, done.stderr


def test_the_report_says_what_each_input_gives(ran):
    _, _, facts = ledger_of(ran / "run")
    (found,) = facts["inputs"]
    assert set(found["macro_f1"]) == {"images", "table", "both"}
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [
        ("both", "images"),
        ("both", "table"),
        ("table", "images"),
    ]
    for pair in found["pairs"]:
        assert pair["difference"] == pytest.approx(
            found["macro_f1"][pair["first"]]["mean"] - found["macro_f1"][pair["second"]]["mean"], abs=1e-6
        )
        assert (pair["low"] > 0 or pair["high"] < 0) == (pair["p"] < 0.05)
    assert len(found["classes"]) == 3
    assert {tuple(each["classes"]) for each in found["class_pairs"]} == {
        ("GALAXY", "QSO"),
        ("GALAXY", "STAR"),
        ("QSO", "STAR"),
    }
    control = facts["control"][0]["network"]
    assert control["low_simultaneous"] < control["low"] < control["high"] < control["high_simultaneous"], "two depths"
    best = max(row["macro_f1"]["mean"] for row in facts["rows"] if row["inputs"] == "images")
    assert control["difference"] <= best - facts["control"][0]["macro_f1"]["mean"] + 1e-6
    assert "A forest on" in facts["answer"]
    assert facts["data"]["numbers"] == ["Taken as magnitudes: modelMag_g, modelMag_r, modelMag_i."]
    assert not any("Taken as" in warning for warning in facts["warnings"])
    assert "Together with the numbers beside the images" in facts["answer"]


def test_of_two_classes_it_is_said_where_the_image_adds_nothing():
    def pair(classes, low, high):
        gain = {"difference": (low + high) / 2, "low_simultaneous": low, "high_simultaneous": high}
        return {"classes": classes, "pairs": [gain, gain]}

    pairs = [pair("GQ", 0.01, 0.05), pair("GS", -0.02, 0.03), pair("QS", -0.002, 0.004)]
    assert _class_pairs({"class_pairs": pairs}) == (
        "Where the numbers are known, the image helps to tell G against Q; the image adds nothing for Q against S "
        "(+0.1 points, -0.2 to +0.4): surely less than 1 point; nothing that the image adds can be told for "
        "G against S (+0.5 points, -2.0 to +3.0)."
    )


def test_before_training_has_converged_no_input_is_called_better(ran):
    _, _, facts = ledger_of(ran / "run")

    def said(converged):
        changed = deepcopy(facts)
        gains = [changed["control"][0]["network"], changed["choice"]["control"]["network"]]
        gains += changed["inputs"][0]["pairs"] + changed["choice"]["inputs"]["pairs"]
        for gain in gains:
            gain |= {"low_simultaneous": 0.1, "high_simultaneous": 0.2}
        for each in (*gains[:2], changed["inputs"][0], changed["choice"]["inputs"]):
            each["converged"] = converged
        of_inputs = [each for each in plain_answer(changed["choice"]) if "forest" in each or "Together" in each]
        return " ".join([*of_inputs, *control_sentences(changed), *input_sentences(changed)])

    assert said(True).count("(10.0 to 20.0) better") == 6
    assert "points" not in said(False)
    assert said(False).count("has not converged, so") == 2
    assert "what the numbers beside the images add, before the training has converged" in said(False)


def test_by_one_seed_no_input_is_called_better(ran):
    _, _, facts = ledger_of(ran / "run")
    changed = deepcopy(facts)
    for gain in [changed["control"][0]["network"], *changed["inputs"][0]["pairs"]]:
        gain |= {"low_simultaneous": 0.1, "high_simultaneous": 0.2, "converged": True}
    changed["inputs"][0] |= {"converged": True, "seeds": 1}
    changed["control"][0]["network"]["seeds"] = 1
    said = " ".join([*control_sentences(changed), *input_sentences(changed)])
    assert "(10.0 to 20.0) better" not in said
    assert "There is one seed, so none of them is called better" in said
    assert "has one seed, so it is not called better or worse than the control" in said


def test_what_both_add_is_corrected_for_the_depths_that_were_tried(ran, monkeypatch):
    def spied(contenders, pairs, score, families=1):
        corrected.add((len(pairs), score, families))
        return apart(contenders, pairs, score, families)

    corrected = set()
    monkeypatch.setattr(number_comparison, "apart", spied)
    ledger_of(ran / "run")
    assert (3, "macro_f1", 2) in corrected, "two depths"
    assert (3, "f1 QSO", 2 * 3) in corrected, "of each of three classes"
    assert (2, "macro_f1", 1) in corrected, "the control against two depths, judged together"


def compared(both_images, both_table, gains=(0.05, 0.01, 0.01), **changes):
    def pair(first, second, interval):
        value = sum(interval) / 2
        ends = {"low_simultaneous": interval[0], "high_simultaneous": interval[1]}
        return {"first": first, "second": second, "difference": value, **ends}

    pairs = [pair("both", "images", both_images), pair("both", "table", both_table)]
    classes = [
        {"class": name, "pairs": [pair("both", other, (gain, gain)) for other in ("images", "table")]}
        for name, gain in zip(("QSO", "GALAXY", "STAR"), gains, strict=True)
    ]
    found = {"network": "a", "train_size": 100, "seeds": 3, "converged": True, "columns": ["u"]}
    return found | {"pairs": pairs, "classes": classes} | changes


UP, DOWN, OPEN = (0.02, 0.05), (-0.05, -0.02), (-0.02, 0.05)


@pytest.mark.parametrize(
    ("inputs", "verdict"),
    [
        ([], "cannot be told"),
        ([compared(UP, UP)], "supported"),
        ([compared(UP, UP, gains=(0.01, 0.05, 0.05))], "cannot be told"),
        ([compared(UP, OPEN)], "cannot be told"),
        ([compared(UP, DOWN)], "contradicted"),
        ([compared(UP, DOWN), compared(UP, UP)], "supported"),
        ([compared(UP, DOWN), compared(UP, OPEN)], "cannot be told"),
        ([compared(UP, UP, seeds=1)], "cannot be told"),
        ([compared(UP, UP, converged=False)], "cannot be told"),
        ([compared(UP, UP, columns=[])], "cannot be told"),
        ([compared(UP, UP, train_size=50), compared(UP, DOWN)], "contradicted"),
    ],
)
def test_the_claim_of_photometry(inputs, verdict):
    assert photometry_claim(inputs, 0.01)[0] == verdict
