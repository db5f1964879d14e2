"""`export --refit`: the same training as the cell's, on training and validation together; the test set is not seen."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import skythaw as package
from helpers_soak import SIZES
from helpers_study import make_survey, write_study
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.bundle.bundle_file import CARD, WEIGHTS, read_about
from skythaw.bundle.export import refit
from skythaw.bundle.export.export_bundle import export
from skythaw.bundle.export.refit import Refit, train_again
from skythaw.data.cutouts import read_cutouts
from skythaw.data.split import nested_order, split
from skythaw.errors import DataError
from skythaw.report.report_facts import report_facts
from skythaw.spec import Recipe, Study
from skythaw.study.known_course import Course, known_course
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study
from skythaw.study.trained_weights import weights_path

GRID = {
    '"0%", "50%", "100%"': '"0%", "50%"',
    "seed = [0, 1]": 'seed = [0]\nstrategy = ["top", "lp_ft", "gradual"]',
    "epochs = 7": "epochs = 4\ndropout = 0.2",
}


CHECKSUMS = ("files", "tensors_sha256")
FEW = {'"0%", "50%", "100%"': '"50%"', "seed = [0, 1]": 'seed = [0]\nstrategy = ["lp_ft", "gradual"]'}


@pytest.fixture(scope="module", params=SIZES)
def run(request, tmp_path_factory, cache) -> Path:
    """A run with heads that begin solved, and blocks that thaw one after the other."""
    folder, whole = tmp_path_factory.mktemp("refit"), request.param == "whole"
    make_survey(folder / "survey.parquet")
    study = Study.load(write_study(folder, replace=GRID if whole else GRID | FEW))
    summary = run_study(study, RunSettings(folder / "run", cache, "serial", 1, "cpu", control=False))
    assert (summary.failed, summary.done) == (0, 6 if whole else 2)
    return folder / "run"


def entries(run):
    with Ledger.read(run) as ledger:
        return ledger.entries()


def data(run):
    return run.parent / "survey.parquet"


@pytest.fixture(scope="module")
def pair(run, cache, tmp_path_factory):
    """A cell as it is, and trained again."""
    folder = tmp_path_factory.mktemp("bundles")
    key = max(entries(run), key=lambda entry: entry.cell.depth).key
    seen = []

    def progress(epochs, number):
        for epoch in epochs:
            seen.append((epoch, number))
            yield epoch

    export(run, folder / "plain", cell=key, onnx=False)
    export(run, folder / "again", cell=key, onnx=False, refit=Refit(cache, "cpu", progress))
    return folder / "plain", folder / "again", seen


def test_on_its_own_images_it_is_the_cell_bit_for_bit(run, cache, monkeypatch):
    """So recipe, seed, strategy, schedule and the epoch where it ends are the cell's, where epochs are given."""
    monkeypatch.setattr(refit, "together", lambda sets: sets.images["train"])
    peaks = set()
    for entry in entries(run):
        peaks.add(entry.result.peak_epoch)
        again = train_again(entry.cell, entry.result, data(run), RANDOM, Refit(cache, "cpu"))
        kept = load_file(weights_path(run, entry.key))
        assert again.trained.keys() == kept.keys()
        if entry.result.head == "trained":
            assert all(torch.equal(again.trained[name], kept[name]) for name in kept), entry.cell
        else:  # solved from another start, to the same end
            assert all(
                torch.allclose(again.trained[name], kept[name], atol=0.02 * float(kept[name].abs().max()))
                for name in kept
            )
    assert len(peaks) > 1 or len(entries(run)) == 2, "one of them ends before the last epoch"


@pytest.mark.parametrize(
    ("place", "fall_from", "course"),
    [
        (40, None, Course(78, 52)),  # kept before the rate fell: it falls from there, in half as many steps again
        (55, 40, Course(72, 52)),  # kept while it fell
        (60, 40, Course(78, 52)),  # at the end
        (1, None, Course(2, 1)),
    ],
)
def test_as_long_as_the_curve_demanded_the_rate_falls_in_the_end(place, fall_from, course):
    """130 images in place of 100: each passes as often. Nothing chooses weights then, so they must settle."""
    cell = SimpleNamespace(recipe=Recipe(epochs="auto"), train_size=100)
    assert known_course(cell, SimpleNamespace(course_steps=place, fall_from=fall_from), 130) == course


def test_it_sees_training_and_validation_and_nothing_of_test(run, cache, monkeypatch):
    entry = entries(run)[0]
    seen = []
    whole = refit.together
    monkeypatch.setattr(refit, "together", lambda sets: seen.append((sets, whole(sets))) or seen[-1][1])
    train_again(entry.cell, entry.result, data(run), RANDOM, Refit(cache, "cpu"))
    cutouts = read_cutouts(data(run))
    parts = split(cutouts, entry.cell.split)
    drawn = parts.train[nested_order(cutouts.labels[parts.train], entry.cell.seed)[: entry.cell.train_size]]
    sets, images = seen[0]
    assert sets.images.keys() == {"train", "validation"}
    assert np.array_equal(images.rows, np.concatenate([drawn, parts.validation]))
    assert not set(images.rows) & set(parts.test)
    assert [cutouts.classes[each] for each in images.targets] == list(cutouts.labels[images.rows])


def test_the_bundle_says_so_and_keeps_the_scores_of_the_cell(run, pair):
    plain, again, seen = pair
    before, after = read_about(plain), read_about(again)
    peak = next(entry.result.peak_epoch for entry in entries(run) if entry.key == after.cell.key)
    steps = int(peak) * math.ceil(111 / after.cell.recipe.batch)
    assert seen == [(step, steps) for step in range(steps)]
    assert before.refit is None
    assert "refit" not in json.loads((plain / "bundle.json").read_text()), "bundles without it stay as they are"
    assert after.refit == after.cell.train_size + len(split(read_cutouts(data(run)), after.cell.split).validation)
    assert before == after.model_copy(update={"refit": None, **{name: getattr(before, name) for name in CHECKSUMS}})
    assert (plain / WEIGHTS).read_bytes() != (again / WEIGHTS).read_bytes()
    said = (
        "The weights were trained again on training and validation together (111 images). The scores and the\n"
        "temperature are of the network that was trained without validation, on 75 images."
    )
    assert after.refit == 111
    assert said in (again / CARD).read_text()
    assert "trained again" not in (plain / CARD).read_text()


def test_twice_is_the_same_bytes_and_it_predicts(run, pair, skythaw, tmp_path):
    """The second time by the command, in another process and without any cache."""
    plain, again, _ = pair
    key = read_about(again).cell.key
    done = skythaw("--cache", tmp_path / "cache", "export", run, tmp_path / "b", "--cell", key, "--refit", "--no-onnx")
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()).startswith(
        "trained again on 111 images of training and validation together; the scores are of the network"
    )
    assert not done.stderr
    for path in again.iterdir():
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes(), path.name
    images = [content for _, content, _ in read_cutouts(data(run)).images()]
    p = [package.load(each, device="cpu").predict(images) for each in (plain, again)]
    assert np.abs(p[0] - p[1]).max() > 1e-3
    labels = read_cutouts(data(run)).labels
    right = np.array(package.load(again).classes)[p[1].argmax(1)] == labels
    assert right.mean() > 0.5, "it has learned"


def test_training_that_diverges_is_one_line(run, cache):
    entry = max(entries(run), key=lambda entry: entry.cell.depth)
    wild = entry.result.model_copy(update={"lr": 1e30})
    with pytest.raises(DataError, match=r"diverged: the loss of step \d is not finite"):
        train_again(entry.cell, wild, data(run), RANDOM, Refit(cache, "cpu"))


def test_training_that_breaks_is_one_line(run, cache):
    """A rate so high that nothing is learned, though every loss is finite."""
    entry = max(entries(run), key=lambda entry: entry.cell.depth)
    wild = entry.result.model_copy(update={"lr": 10.0})
    with pytest.raises(DataError, match=r"broke: macro-F1 0\.\d\d on .* cell has [01]\.\d\d on val"):
        train_again(entry.cell, wild, data(run), RANDOM, Refit(cache, "cpu"))


def test_an_external_test_set_is_not_even_opened(tmp_path, cache):
    make_survey(tmp_path / "survey.parquet")
    make_survey(tmp_path / "test.parquet", objects=60, seed=1, prefix="77")
    replace = {
        'path = "survey.parquet"': 'path = "survey.parquet"\ntest_path = "test.parquet"',
        '"0%", "50%", "100%"': '"0%"',
        "seed = [0, 1]": "seed = [0]",
        "epochs = 7": "epochs = 2",
    }
    run_study(
        Study.load(write_study(tmp_path, replace=replace)),
        RunSettings(tmp_path / "run", cache, "serial", 1, "cpu", control=False),
    )
    (tmp_path / "test.parquet").unlink()
    about = export(tmp_path / "run", tmp_path / "bundle", onnx=False, refit=Refit(cache, "cpu"))
    assert about.refit > about.cell.train_size


def test_data_that_are_gone_are_one_line(run, skythaw, tmp_path):
    done = skythaw("export", run, tmp_path / "b", "--refit", "--data", "nowhere.parquet", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "--data FILE" in done.stderr
    assert not (tmp_path / "b").exists()


def test_a_training_that_never_was_scored_can_not_be_done_again():
    cell = SimpleNamespace(recipe=Recipe(epochs="auto"), train_size=100)
    with pytest.raises(DataError, match="its training diverged before validation was scored"):
        known_course(cell, SimpleNamespace(course_steps=0, fall_from=None, curves=[]), 130)


def test_claims_of_the_paper_know_random_weights(run):
    """The paper's networks had ImageNet weights; the study does not name these."""
    with Ledger.read(run) as ledger:
        depths = report_facts(ledger)["claims"][2]["numbers"]["depths"]
    assert [each["weights"] for each in depths] == ["random"]
