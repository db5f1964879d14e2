"""A run as a Python object: its answer, its table, its figures on the axes of a caller, and how it shows itself."""

from __future__ import annotations

import os
import pickle
import re
import shutil

import matplotlib as mpl
import pytest

import skythaw
from helpers_run import World, forget, make_run
from skythaw.errors import DataError, LedgerError, UnknownNameError
from skythaw.report.short_answer import short_answer

mpl.use("agg")
from matplotlib import pyplot as plt

SKILLS = {"resnet50": {0: 0.7, 3: 1.6, 10: 1.5}, "vgg16": {0: 0.5, 3: 1.0, 10: 1.0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "run", World(SKILLS, objects=150, sizes=(300, 1000)))


@pytest.fixture(scope="module")
def run(folder):
    return skythaw.Run(folder)


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_the_answer_is_one_sentence_and_has_the_others_behind_it(run):
    assert isinstance(run.answer, str)
    assert re.fullmatch(r"Use resnet50 with the last 3 of its 10 blocks trained on 1,000 images: .+\.", run.answer)
    assert run.answer.count(". ") == 0
    assert len(run.answer.sentences) > 1
    assert run.answer in run.answer._repr_html_()


def test_the_short_answer_never_hides_a_better_control(run):
    network = {"converged": True, "seeds": 3, "difference": -0.1, "low": -0.2, "high": -0.05}
    network |= {"low_simultaneous": -0.2, "high_simultaneous": -0.05}
    choice = run.facts["choice"] | {"control": {"network": network}}
    assert "a forest on numbers measured from the same images does better" in short_answer(choice)


def test_the_table_has_a_row_for_each_setting(run):
    pytest.importorskip("pandas")
    table = run.table()
    assert len(table) == 12
    assert {"backbone", "train_size", "depth", "macro_f1", "macro_f1_low", "macro_f1_high"} <= set(table.columns)
    best = table[(table.backbone == "resnet50") & (table.train_size == 1000) & table.recommended]
    assert best.depth.tolist() == [3]
    assert (best.macro_f1_low < best.macro_f1).all()


def test_the_table_is_astropys_where_that_is_asked_for(run):
    table = run.table(format="astropy")
    assert type(table).__module__.startswith("astropy")
    assert len(table) == 12
    with pytest.raises(UnknownNameError, match="did you mean 'pandas'"):
        run.table(format="panda")


@pytest.mark.parametrize("name", ["depth", "learning", "confusion", "sizes", "calibration"])
def test_a_figure_is_drawn_on_the_axes_that_are_given(run, ax, name):
    assert getattr(run.plot, name)(ax=ax) is ax
    assert ax.get_xlabel()
    assert ax.lines or ax.collections or ax.texts


def test_a_figure_is_drawn_on_new_axes_where_none_are_given(run):
    axes = run.plot.depth()
    assert axes.lines
    plt.close(axes.figure)


def test_a_figure_of_the_choice_is_that_of_the_chosen_network(run, ax):
    assert run.plot.confusion(ax=ax).get_title(loc="left").startswith("resnet50, depth 3")


def test_what_can_not_be_drawn_is_said(tmp_path, ax):
    one = skythaw.Run(make_run(tmp_path / "one", World({"vgg16": {0: 1.0, 3: 1.2}}, objects=60)))
    with pytest.raises(DataError, match="the study tried one number of training images"):
        one.plot.sizes(ax=ax)
    flat = plt.figure()
    for odd in ([ax], flat, flat.add_subplot(projection="3d")):
        with pytest.raises(DataError, match="should be one flat matplotlib Axes"):
            one.plot.depth(ax=odd)
    plt.close(flat)


def test_the_representations_are_short(run):
    assert "36 of 36 cells done" in repr(run)
    assert len(repr(run)) < 400
    assert len(run._repr_html_()) < 10_000
    assert "<script" not in run._repr_html_()


def test_names_are_escaped_in_html(tmp_path):
    from skythaw.study.ledger import Ledger

    folder = make_run(tmp_path / "run", World({"vgg16": {0: 1.0}}, objects=60))
    with Ledger.create(folder, Ledger.read(folder).study, []) as ledger:
        ledger.note("name", "<script>alert(1)</script>")
    assert "<script>" not in skythaw.Run(folder)._repr_html_()


def test_the_folder_of_tune_is_a_run_too(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "tuned" / "run")
    found = skythaw.Run(tmp_path / "tuned")
    assert found.ledger_folder == tmp_path / "tuned" / "run"
    assert found.answer.startswith("Use resnet50")
    assert found.report == tmp_path / "tuned" / "report.html"
    assert found.report.is_file()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="is not a run folder: there is no ledger"):
        skythaw.Run(tmp_path)


def test_facts_are_made_again_when_cells_were_added(folder, tmp_path):
    run = skythaw.Run(make_run(tmp_path / "run", World({"vgg16": {0: 1.0}}, objects=60)))
    assert run.facts is run.facts
    shutil.rmtree(tmp_path / "run")
    shutil.copytree(folder, tmp_path / "run")
    assert run.facts["cells"]["done"] == 36


def test_the_report_is_written_again_when_cells_were_added(folder, tmp_path):
    run = skythaw.Run(make_run(tmp_path / "run", World({"vgg16": {0: 1.0}}, objects=60)))
    before = run.report.read_text()
    run.report.write_text(before + "mine")
    assert run.report.read_text() == before + "mine", "nothing was added"
    page = run.report.read_bytes()
    shutil.rmtree(tmp_path / "run")
    shutil.copytree(folder, tmp_path / "run", copy_function=shutil.copyfile)
    (tmp_path / "run" / "report.html").write_bytes(page)
    os.utime(tmp_path / "run" / "report.html", (0, 0))
    assert "resnet50" in run.report.read_text()


def test_the_short_answer_names_the_weights_where_a_study_has_several(run):
    said = short_answer(run.facts["choice"] | {"network": "resnet50 (random)"})
    assert said.startswith("Use resnet50 (random) with the last 3 of its 10 blocks trained")


def test_a_run_out_of_a_pickle_is_the_run_of_its_folder(run):
    again = pickle.loads(pickle.dumps(run))
    assert (again.folder, again.answer, again.answer.sentences) == (run.folder, run.answer, run.answer.sentences)


def test_a_run_says_how_many_cells_failed(tmp_path):
    run = skythaw.Run(make_run(tmp_path / "run", World({"resnet50": {0: 0.7, 3: 1.6}}, objects=150)))
    assert "6 of 6 cells done." in repr(run)
    forget(run.folder, lambda cell: cell.depth == 3)
    for said in (repr(run), run._repr_html_()):
        assert "3 of 6 cells done, 3 failed" in said
