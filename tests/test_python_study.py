"""A study in Python: written with keyword arguments, run with callbacks, stopped, and used in scripts and notebooks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import skythaw
from helpers_study import make_survey, write_study
from skythaw.api import progress_bar
from skythaw.api.stopping import StoppedError
from skythaw.errors import DataError, SpecError
from skythaw.spec import Study
from skythaw.study import run_study as study_runner
from skythaw.study.ledger import Ledger

SMALL = {
    "backbone": "timm:test_efficientnet",
    "depth": ["0%", "50%"],
    "train_size": 75,
    "seed": [0],
    "crop": 32,
    "split": {"by": "field", "validation": 0.2, "test": 0.3, "seed": 0},
    "epochs": 3,
    "batch": 16,
    "lr": 5e-3,
    "weights": {"timm:test_efficientnet": "random"},
}


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return make_survey(tmp_path_factory.mktemp("survey") / "survey.parquet")


@pytest.fixture(scope="module")
def ran(survey, tmp_path_factory, cache):
    """A run, and what its callbacks were told."""
    told = SimpleNamespace(cells=[], epochs=[])
    run = skythaw.Study(data=survey, **SMALL).run(
        tmp_path_factory.mktemp("run") / "out",
        engine="serial",
        device="cpu",
        control=False,
        cache=cache,
        on_cell=told.cells.append,
        on_epoch=told.epochs.append,
    )
    return run, told


def test_representations_of_events_and_plans_are_short(ran, survey, cache):
    told = ran[1]
    assert repr(told.cells[0]).startswith("CellEvent 1 of 2: timm:test_efficientnet depth ")
    assert repr(told.cells[0]).endswith(" on test")
    assert repr(told.epochs[0]).startswith("EpochEvent timm:test_efficientnet depth ")
    assert repr(replace(told.cells[0], result=None, error="x" * 9000)).endswith(": failed")
    plan = skythaw.plan_study(skythaw.Study(data=survey, **SMALL), cache=cache)
    assert repr(plan).startswith("Plan of 'study': 2 cells of timm:test_efficientnet; objects: ")
    assert max(len(repr(each)) for each in (told.cells[0], told.epochs[0], plan)) < 300


@pytest.mark.parametrize("workers", [0, -1, 1.5, "two", True])
def test_a_study_needs_a_worker(tmp_path, workers):
    study = skythaw.Study(data=tmp_path / "survey.parquet", **SMALL)
    with pytest.raises(SpecError, match=f"workers {workers!r} should be how many cells run at a time"):
        study.run(tmp_path / "out", workers=workers)
    assert not (tmp_path / "out").exists()


def test_keywords_find_their_sections():
    study = skythaw.Study(data="survey.parquet", name="mine", size=[32, 64], **(SMALL | {"lr": [0.1]}))
    assert study.grid.backbone == ("timm:test_efficientnet",)
    assert study.grid.axes == {"lr": [0.1], "size": [32, 64]}
    assert study.recipe.epochs == 3
    assert study.data.crop == 32
    assert isinstance(study, Study)


def test_sections_are_taken_as_a_file_has_them(tmp_path):
    content = {"data": {"path": "survey.parquet", "crop": 32}, "grid": {"backbone": ["resnet50"], "lr": [0.1, 0.2]}}
    study = skythaw.Study(**content)
    assert study.describe() == Study.parse(content).describe()
    (tmp_path / "study.toml").write_text('[data]\npath = "s.parquet"\n[grid]\nbackbone = ["resnet50"]\n')
    loaded = skythaw.Study.load(tmp_path / "study.toml")
    assert isinstance(loaded, skythaw.Study)
    assert loaded.data.path == tmp_path / "s.parquet"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"backbne": "a"}, "a study has no 'backbne'; did you mean 'backbone'"),
        ({"backbone": "a", "depth": -1}, "grid.depth: depth -1 is negative"),
        ({"backbone": "a", "epochs": 0}, "recipe.epochs"),
        ({"backbone": "a", "lr": ["fast", 1]}, "grid.lr"),
        ({}, "grid"),
    ],
)
def test_what_is_no_study_is_one_sentence(given, said):
    with pytest.raises(SpecError, match=said) as raised:
        skythaw.Study(data="survey.parquet", **given)
    assert "\n" not in str(raised.value)


def test_a_run_tells_of_its_cells_and_of_their_epochs(ran):
    run, told = ran
    assert run.facts["cells"]["done"] == 2
    assert [(each.done, each.cells) for each in told.cells] == [(1, 2), (2, 2)]
    assert {each.cell.depth for each in told.cells} == {0, run.facts["rows"][-1]["depth"]}
    assert all(0 <= each.scores["macro_f1"] <= 1 and each.error is None for each in told.cells)
    deep = [each for each in told.epochs if each.cell.depth > 0]
    assert [each.epoch for each in deep] == sorted(each.epoch for each in deep)
    assert deep[-1].epoch == 3
    assert "macro_f1" in deep[0].scores
    assert deep[0].name.startswith("timm:test_efficientnet depth ")


class Seen:
    """Is told of epochs while the ledger still says that their cells run."""

    def __init__(self, out: Path, stop_at: int = 1000) -> None:
        self.out, self.stop_at = out, stop_at
        self.epochs: list[tuple[str, float, str]] = []

    def __call__(self, event: skythaw.EpochEvent) -> None:
        with Ledger.read(self.out) as ledger:
            state = next(each.state for each in ledger.entries() if each.key == event.cell.key)
        self.epochs.append((event.cell.key, event.epoch, state))
        if len(self.epochs) == self.stop_at:
            raise ValueError("enough")


def test_epochs_are_told_while_their_cell_trains_in_another_process(survey, tmp_path, cache):
    """Each once and in order; what a callback raises stops the run, which goes on later."""
    study, kept = skythaw.Study(data=survey, **SMALL), {"device": "cpu", "control": False, "cache": cache}
    with pytest.raises(ValueError, match="enough"):
        study.run(tmp_path / "out", workers=1, on_epoch=Seen(tmp_path / "out", stop_at=2), **kept)
    with Ledger.read(tmp_path / "out") as ledger:
        assert {each.state for each in ledger.entries()} == {"waiting"}
    seen = Seen(tmp_path / "out")
    study.run(tmp_path / "out", workers=2, on_epoch=seen, **kept)
    with Ledger.read(tmp_path / "out") as ledger:
        curves = {each.key: [point["epoch"] for point in each.result.curves] for each in ledger.entries()}
    assert {state for _, _, state in seen.epochs} == {"running"}
    assert {key: [epoch for k, epoch, _ in seen.epochs if k == key] for key in curves} == curves


def test_the_classifier_of_a_run_is_exported_once(ran, survey):
    run, _ = ran
    before = run.classifier
    assert (run.folder / "classifier" / "bundle.json").is_file()
    written = (run.folder / "classifier" / "bundle.json").stat().st_mtime_ns
    again = skythaw.Run(run.folder).classifier
    assert again.about == before.about
    assert (run.folder / "classifier" / "bundle.json").stat().st_mtime_ns == written
    assert again.predict(survey).shape == (180, 3)


def test_a_run_that_is_stopped_says_what_is_kept(survey, tmp_path, cache, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(study_runner, "execute", stop)
    study = skythaw.Study(data=survey, **SMALL)
    with pytest.raises(StoppedError, match=r"finished cells are kept in .*out, and the same call goes on") as raised:
        study.run(tmp_path / "out", engine="serial", device="cpu", control=False, cache=cache)
    assert isinstance(raised.value, KeyboardInterrupt)
    assert raised.value._render_traceback_() == [f"stopped: {raised.value}"]
    monkeypatch.undo()
    assert study.run(tmp_path / "out", engine="serial", device="cpu", control=False, cache=cache).facts["rows"]


def test_the_examples_of_the_page_run(tmp_path, cache, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKYTHAW_CACHE", str(cache))
    monkeypatch.setenv("MPLBACKEND", "agg")
    pytest.importorskip("pandas")
    make_survey(tmp_path / "survey.parquet")
    names = {}
    for block in blocks:
        exec(block, names)  # one after the other, as a reader types them
    assert (tmp_path / "depths.png").is_file()
    assert len(names["table"]) == 180


def test_an_error_is_one_line_in_a_notebook():
    assert DataError("no such file")._render_traceback_() == ["DataError: no such file"]


@pytest.mark.soak
def test_a_script_needs_no_main_guard(survey, tmp_path, cache):
    lines = (
        "import skythaw\n"
        "print('begins')\n"
        f"study = skythaw.Study(data={str(survey)!r}, **{SMALL!r})\n"
        "run = study.run('out', workers=2, device='cpu', control=False)\n"
        "print(run.facts['cells']['done'], run.answer)\n"
    )
    (tmp_path / "script.py").write_text(lines)
    environment = {**os.environ, "SKYTHAW_CACHE": str(cache)}
    command = [sys.executable, "script.py"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[0] == "begins"
    assert found.stdout.splitlines()[1].startswith("2 Use timm:test_efficientnet")
    assert len(found.stdout.splitlines()) == 2


@pytest.fixture
def notebook(monkeypatch):
    """As in the kernel of a notebook."""
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


@pytest.mark.usefixtures("notebook")
def test_progress_in_a_notebook_is_one_line(capsys):
    assert list(progress_bar.tracked(range(600), 600, "predicting")) == list(range(600))
    said = capsys.readouterr().err
    assert said.count("\n") == 0
    assert "predicting" in said


@pytest.mark.usefixtures("notebook")
@pytest.mark.parametrize("total", [None, 0, 3])
def test_progress_in_a_notebook_ends_whatever_its_total(total, capsys):
    with progress_bar.progress_bar("images") as bar:
        bar.update(bar.add_task("reading", total=total), advance=3)
    assert "reading" in capsys.readouterr().err


@pytest.mark.usefixtures("notebook")
def test_a_study_in_a_notebook_writes_no_more_lines_than_it_has_to_say(survey, tmp_path, cache, capsys):
    study = skythaw.Study(data=survey, **SMALL)
    study.run(tmp_path / "out", engine="serial", device="cpu", control=False, cache=cache)
    said = capsys.readouterr().err
    assert "study" in said
    assert said.count("\n") <= 3


@pytest.mark.usefixtures("notebook")
def test_progress_can_be_turned_off(capsys):
    assert list(progress_bar.tracked(range(3), 3, "predicting", shown=False)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


class Recorder(ModuleType):
    """Stands for the package of a tracker: every call is kept."""

    def __init__(self):
        super().__init__("recorder")
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*given, **named):
            self.calls.append((name, given, named))
            return self

        return call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.calls.append(("exit", (), {}))

    def of(self, name):
        return [(given, named) for called, given, named in self.calls if called == name]


@pytest.fixture
def recorder(monkeypatch):
    made = Recorder()
    for name in ("mlflow", "trackio", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, made)
    return made


def tell(tracker, told):
    for each in told.cells:
        for epoch in told.epochs:
            if epoch.cell == each.cell:
                tracker.on_epoch(epoch)
        tracker.on_cell(each)


def test_mlflow_has_a_run_for_each_cell(ran, recorder):
    tell(skythaw.MLflowTracker(), ran[1])
    assert len(recorder.of("start_run")) == len(recorder.of("exit")) == 2
    assert recorder.of("log_params")[0][0][0]["backbone"] == "timm:test_efficientnet"
    assert {"test_macro_f1", "test_accuracy"} <= recorder.of("log_metrics")[-1][0][0].keys()


def test_trackio_has_a_run_for_each_cell(ran, recorder):
    tell(skythaw.TrackioTracker("mine"), ran[1])
    assert [named["project"] for _, named in recorder.of("init")] == ["mine", "mine"]
    assert len(recorder.of("finish")) == 2


def test_tensorboard_has_a_folder_for_each_cell(ran, recorder, tmp_path):
    tell(skythaw.TensorBoardTracker(tmp_path), ran[1])
    folders = {given[0] for given, _ in recorder.of("SummaryWriter")}
    assert len(folders) == 2
    assert {given[0] for given, _ in recorder.of("add_scalar")} >= {"training/macro_f1", "test/macro_f1"}
    steps = [given[2] for given, _ in recorder.of("add_scalar") if given[0] == "training/macro_f1"]
    assert np.all(np.array(steps) > 0)


def test_scores_of_trials_are_called_those_of_validation(survey, tmp_path, cache, recorder):
    cells = []
    study = skythaw.Study(data=survey, **(SMALL | {"depth": [1], "lr": "auto", "epochs": 1}))
    study.run(tmp_path / "out", engine="serial", device="cpu", control=False, cache=cache, on_cell=cells.append)
    trials = [each for each in cells if each.trial]
    assert trials
    assert [each.trial for each in cells] == [True] * len(trials) + [False]
    assert {each.part for each in trials} == {"validation"}
    assert trials[0].scores["macro_f1"] == trials[0].result.scores["validation"]["macro_f1"]
    assert cells[-1].part == "test"
    assert cells[-1].scores["macro_f1"] == cells[-1].result.scores["test"]["macro_f1"]
    for event, part in ((trials[0], "validation"), (cells[-1], "test")):
        for tracker in (skythaw.MLflowTracker(), skythaw.TrackioTracker()):
            recorder.calls.clear()
            tracker.on_cell(event)
            logged = recorder.of("log_metrics") or recorder.of("log")
            assert {name.partition("_")[0] for name in logged[-1][0][0]} == {part}
        recorder.calls.clear()
        skythaw.TensorBoardTracker(tmp_path).on_cell(event)
        assert {given[0].partition("/")[0] for given, _ in recorder.of("add_scalar")} == {part}


@pytest.mark.parametrize("kind", ["MLflowTracker", "TrackioTracker", "TensorBoardTracker"])
def test_a_tracker_without_its_package_says_which_extra_brings_it(kind, monkeypatch, tmp_path):
    for name in ("mlflow", "trackio", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"needs the package .*: pip install 'skythaw\["):
        getattr(skythaw, kind)(*([tmp_path] if kind == "TensorBoardTracker" else []))


def test_weights_are_an_axis_where_they_are_a_list_and_a_section_where_they_are_by_network():
    several = skythaw.Study(data="s.parquet", backbone="resnet50", weights=["imagenet", "random"])
    assert [each.name or each.random for each in several.grid.weights] == ["imagenet", True]
    assert not several.weights
    one = skythaw.Study(data="s.parquet", backbone="resnet50", weights={"resnet50": "random"})
    assert one.weights["resnet50"].random
    assert not one.grid.weights


def test_what_a_study_file_says_is_named_with_the_file(tmp_path, cache):
    file, said = write_study(tmp_path), r"data\.path = \S*survey\.parquet: there is no such file or folder"
    with pytest.raises(SpecError, match=rf"^\S+study\.toml: {said}"):
        skythaw.plan_study(file, cache=cache)
    with pytest.raises(SpecError, match=rf"^\S+study\.toml: {said}"):
        skythaw.run_study(file, tmp_path / "run", engine="serial", cache=cache, progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(SpecError, match=f"^{said}"):
        skythaw.plan_study(skythaw.Study(data="survey.parquet", backbone="resnet50"), cache=cache)


def test_a_key_that_is_given_twice_is_refused():
    with pytest.raises(SpecError, match=r"backbone is given twice: .'a'. in grid, and 'b'"):
        skythaw.Study(data="x.parquet", grid={"backbone": ["a"]}, backbone="b")
    with pytest.raises(SpecError, match="path is given twice"):
        skythaw.Study(data="x.parquet", path="y.parquet", backbone="a")


def test_arrays_of_numpy_are_axes():
    study = skythaw.Study(
        data="a.parquet", backbone="resnet50", depth=np.array([0, 3]), seed=np.arange(2), lr=np.array([1e-3, 3e-3])
    )
    assert (study.grid.depth, study.grid.seed, study.grid.axes["lr"]) == ((0, 3), (0, 1), [1e-3, 3e-3])


def test_data_that_are_no_file_are_named():
    with pytest.raises(SpecError, match=r"data should be a Parquet file of cutouts, and is of type list: see"):
        skythaw.Study(data=["a.parquet"], backbone="resnet50", crop=32)


@pytest.mark.parametrize("margin", [-1, 2.0, float("nan"), "0.01", None])
def test_a_margin_that_is_no_share_is_refused(tmp_path, margin):
    with pytest.raises(SpecError, match="should be a share of macro-F1 from 0 to 1"):
        skythaw.report(tmp_path, margin=margin)
