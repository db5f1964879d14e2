"""`export --ensemble`: the seeds of a setting as one classifier, whose scores and temperature are its own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import skythaw as package
from helpers_run import sample_of
from helpers_study import make_survey, write_study
from skythaw.bundle.backends import open_backend
from skythaw.bundle.bundle_file import CARD, ONNX, read_about
from skythaw.bundle.export import seed_mean
from skythaw.bundle.export.export_bundle import export
from skythaw.bundle.members import Member, mean_of_networks, weight_files
from skythaw.data.cutouts import read_cutouts
from skythaw.errors import BundleError, LedgerError, SpecError
from skythaw.explain.saliency_maps import grad_cam, occlusion
from skythaw.spec import Study
from skythaw.stats.calibration import tempered
from skythaw.stats.scored_sample import read_sample
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study

CLASSES = ("GALAXY", "QSO", "STAR")


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A run of three seeds at one depth, and its ensemble with an ONNX file."""
    folder = tmp_path_factory.mktemp("seeds")
    make_survey(folder / "survey.parquet")
    small = {'"0%", "50%", "100%"': '"50%"', "epochs = 7": "epochs = 3", "seed = [0, 1]": "seed = [0, 1, 2]"}
    study = Study.load(write_study(folder, replace=small))
    run_study(study, RunSettings(folder / "run", cache, "serial", 1, "cpu", control=False))
    export(folder / "run", folder / "one", onnx=False, references=20)
    export(folder / "run", folder / "mean", ensemble=True, onnx=True, references=20)
    return folder


@pytest.fixture(scope="module")
def classifier(made):
    return package.load(made / "mean", device="cpu")


def said_in_run(made, about, part):
    return read_sample(made / "run", part, CLASSES, [each.cell for each in about.members])


def test_each_network_speaks_at_its_own_temperature():
    first, second = np.log([[0.9, 0.1]]), np.log([[0.2, 0.8]])
    members = [
        Member(cell=letter * 64, seed=i, temperature=t)
        for i, (letter, t) in enumerate(zip("ab", (1, 100), strict=True))
    ]
    wanted = (np.array([0.9, 0.1]) + np.exp(tempered(second, 100))[0]) / 2
    assert np.allclose(np.exp(mean_of_networks([first, second], members)), wanted)
    assert weight_files("model.safetensors", members) == ["model.safetensors", "model2.safetensors"]


def test_it_answers_for_an_object_as_the_mean_of_the_cells_of_the_run(made, classifier):
    about, cutouts = classifier.about, read_cutouts(made / "survey.parquet")
    test = said_in_run(made, about, "test")
    place = {name: i for i, name in enumerate(cutouts.object_ids)}
    files = [data for _, data, _ in cutouts.images()]
    p = classifier.predict([files[place[name]] for name in test.ids])
    each = [tempered(test.log_probabilities(member.cell), member.temperature) for member in about.members]
    mean = np.log(np.mean(np.exp(each), axis=0))
    assert np.allclose(p, np.exp(tempered(mean, about.temperature)), atol=2e-5)
    assert len({str(one.round(4).tolist()) for one in each}) == 3, "three networks"


def test_its_scores_are_its_own(made, classifier):
    about, one = classifier.about, read_about(made / "one")
    test = said_in_run(made, about, "test")
    log_p = mean_of_networks([test.log_probabilities(each.cell) for each in about.members], about.members)
    right = float((log_p.argmax(1) == test.true).mean())
    assert about.scores["own"]["accuracy"] == pytest.approx(right)
    assert about.scores["accuracy"]["mean"] == pytest.approx(right, abs=1e-6)
    assert about.scores["macro_f1"]["low"] <= about.scores["macro_f1"]["mean"] <= about.scores["macro_f1"]["high"]
    assert about.scores["own"] != one.scores["own"]
    card = (made / "mean" / CARD).read_text()
    assert "It is the mean of 3 networks, trained alike from the seeds" in card
    assert "It takes 3 times as long" in " ".join(card.split()).replace("So it takes", "It takes")
    assert "scores are those of the mean itself" in " ".join(card.split()).replace("They are", "scores are")
    assert "seed(s)" not in card


def test_an_onnx_file_holds_all_of_them(made, classifier):
    images = np.stack([np.asarray(image) for image in some_pixels(made)])
    onnx = open_backend(made / "mean", "onnx", "cpu").outputs(images)
    assert ONNX in classifier.about.files
    assert np.abs(onnx.p - classifier.predict(images)).max() < 1e-4


def some_pixels(made):
    from skythaw.data.decode import decode

    return [decode(data, name) for name, data, _ in list(read_cutouts(made / "survey.parquet").images())[:3]]


def test_maps_are_of_all_of_them(made, classifier):
    image = some_pixels(made)[0]
    maps = [explain(classifier, image, "STAR") for explain in (grad_cam, occlusion)]
    assert torch.is_grad_enabled(), "as before"
    alone = package.load(made / "one", device="cpu")
    for ours, theirs in zip(maps, [explain(alone, image, "STAR") for explain in (grad_cam, occlusion)], strict=True):
        assert ours.shape == theirs.shape
        assert not np.allclose(ours, theirs)


def test_commands_know_it(made, tmp_path, skythaw):
    done = skythaw("export", made / "run", tmp_path / "bundle", "--ensemble", "--no-onnx", "--references", "0")
    assert done.returncode == 0, done.stderr
    assert "mean of 3 networks" in done.stdout + done.stderr
    assert "3 times as long" in " ".join((done.stdout + done.stderr).split())
    done = skythaw("evaluate", tmp_path / "bundle", made / "survey.parquet", "--json")
    assert done.returncode == 0, done.stderr
    assert '"own_test"' in done.stdout


def test_a_file_that_was_exchanged_is_refused(made, tmp_path):
    shutil.copytree(made / "mean", tmp_path / "spoilt")
    shutil.copy(tmp_path / "spoilt/model2.safetensors", tmp_path / "spoilt/model3.safetensors")
    with pytest.raises(BundleError, match=r"model3\.safetensors is not the one that the bundle was made with"):
        package.load(tmp_path / "spoilt")
    (tmp_path / "spoilt/model3.safetensors").unlink()
    with pytest.raises(BundleError, match=r"can't read model3.safetensors"):
        package.load(tmp_path / "spoilt")


def test_what_can_not_be_a_mean_is_refused(made, tmp_path):
    with pytest.raises(SpecError, match="leave out --ensemble or --refit"):
        export(made / "run", tmp_path / "out", ensemble=True, refit=object())
    shutil.copytree(made / "run", tmp_path / "run")
    with Ledger.read(tmp_path / "run") as ledger:
        keys = [entry.key for entry in ledger.entries()]
    (tmp_path / "run/predictions" / f"{keys[1]}.parquet").unlink()
    with pytest.raises(LedgerError, match=r"it is gone of the cell"):
        export(tmp_path / "run", tmp_path / "out", ensemble=True)
    assert not (tmp_path / "out").exists()


def test_a_mean_that_is_always_right_is_not_sure_to_stay_so():
    true = np.arange(20) % 2
    log_p = np.log(np.where(np.eye(2)[true] > 0, 0.9, 0.1))
    scores = seed_mean._scores(sample_of(true, {"a": true}), log_p)
    assert (scores["accuracy"]["mean"], scores["accuracy"]["high"]) == (1, 1)
    assert scores["accuracy"]["low"] == pytest.approx(0.8316, abs=1e-3)
    assert scores["per_class"]["A"]["recall"]["low"] == pytest.approx(0.6915, abs=1e-3), "of its ten objects"
