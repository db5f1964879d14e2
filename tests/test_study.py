"""A study from cutouts to table: the same numbers whichever way it runs, nothing done twice, nothing lost."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from conftest import SKYTHAW
from helpers_study import make_survey, write_study
from helpers_watched import failing, watched
from skythaw.data.cutouts import read_cutouts
from skythaw.data.split import split
from skythaw.errors import LedgerError, OutputError
from skythaw.report.report_facts import report_facts
from skythaw.spec import Study
from skythaw.study import run_cell
from skythaw.study.cell_task import CellTask
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.rate_trials import slower_rates
from skythaw.study.run_study import run_study
from skythaw.study.study_status import status
from skythaw.tuning.training_loop import fit

QUICK = {"epochs = 7": "epochs = 1"}
"""for tests of what happens around the training"""


def run(here, cache, name="run", engine="serial", workers=1, **replace):
    study = Study.load(write_study(here, **replace))
    return run_study(study, RunSettings(here / name, cache, engine, workers, "cpu", control=False))


def entries(folder):
    with Ledger.read(folder) as ledger:
        return ledger.entries()


def facts(folder):
    with Ledger.read(folder) as ledger:
        return report_facts(ledger)


def digests(folder):
    return {e.key: e.result.weights_sha256 for e in entries(folder)}


def predictions(folder):
    return {file.stem: pq.read_table(file) for file in (folder / "predictions").iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """The small study, run in this process, one cell after the other."""
    here = tmp_path_factory.mktemp("finished")
    make_survey(here / "survey.parquet")
    summary = run(here, cache)
    assert (summary.cells, summary.done, summary.failed) == (6, 6, 0)
    return here / "run"


def test_the_table_says_how_accuracy_depends_on_depth(finished):
    found = facts(finished)
    rows = found["rows"]
    assert [row["depth"] for row in rows] == [0, 4, 7]
    assert [row["seeds"] for row in rows] == [2, 2, 2]
    for name in ("tpr", "tlr", "tfr"):
        assert all(a[name] < b[name] for a, b in itertools.pairwise(rows)), name
    assert rows[-1]["tpr"] == rows[-1]["tlr"] == rows[-1]["tfr"] == 1
    assert rows[-1]["macro_f1"]["mean"] > 0.8, "a whole network learns this survey"
    assert rows[0]["macro_f1"]["mean"] < rows[-1]["macro_f1"]["mean"], "a head on random features does not"
    assert next(choice["depth"] for choice in found["recommended"]) > 0


def test_scores_follow_from_the_predictions_kept(finished):
    tables = predictions(finished)
    assert len(tables) == 6
    for entry in entries(finished):
        table = tables[entry.key]
        for part in ("validation", "test"):
            some = table.filter(np.array(table["part"].to_pylist()) == part)
            right = np.array(some["label"].to_pylist()) == np.array(some["predicted"].to_pylist())
            scores = entry.result.scores[part]
            assert right.mean() == pytest.approx(scores["accuracy"])
            assert np.trace(scores["confusion"]) == right.sum()
        p = np.stack([table[f"p_{name}"].to_numpy() for name in entry.result.classes], axis=1)
        assert np.allclose(p.sum(1), 1, atol=1e-5)
        assert (np.array(entry.result.classes)[p.argmax(1)] == np.array(table["predicted"].to_pylist())).all()


def test_predictions_are_of_the_split_alone_each_object_once(finished):
    survey = read_cutouts(finished.parent / "survey.parquet")
    cell = entries(finished)[0].cell
    parts = split(survey, cell.split)
    ids = np.array(survey.object_ids)
    for table in predictions(finished).values():
        for part in ("validation", "test"):
            here = np.array(table["part"].to_pylist()) == part
            assert np.array(table["object_id"].to_pylist())[here].tolist() == ids[getattr(parts, part)].tolist()


def test_the_curves_have_an_entry_an_epoch_and_what_is_kept_is_their_best(finished):
    """The best by the mean of its score and of the one before it."""
    for entry in entries(finished):
        r = entry.result
        assert [c["epoch"] for c in r.curves] == list(range(1, 8))
        scores = np.array([c["macro_f1"] for c in r.curves])
        assert r.kept == r.peak_epoch == 2 + int(np.argmax(scores[1:] + scores[:-1]))
        kept = scores[r.kept - 1]
        assert r.peak_score == pytest.approx(r.scores["validation"]["macro_f1"])
        assert r.peak_score == kept if r.head == "trained" else r.peak_score > kept
        if r.head != "trained":
            assert r.not_converged == ()
        elif r.peak_epoch == 7:
            assert r.not_converged == ("best at the end: epoch 7 of 7",)
        assert r.gap == pytest.approx(r.scores["train"]["macro_f1"] - r.scores["validation"]["macro_f1"])


@pytest.mark.soak
@pytest.mark.parametrize("workers", [2, 1])
def test_other_engines_and_workers_give_the_same_bits(finished, tmp_path, cache, workers):
    make_survey(tmp_path / "survey.parquet")
    run(tmp_path, cache, engine="processes", workers=workers)
    assert digests(tmp_path / "run") == digests(finished)
    ours, theirs = predictions(tmp_path / "run"), predictions(finished)
    assert all(ours[key].equals(theirs[key]) for key in theirs)


def test_a_second_run_does_nothing(finished, cache, own_engine):
    engine = own_engine(failing(lambda cell: True))
    summary = run(finished.parent, cache, engine=engine)
    assert (summary.done, summary.failed) == (6, 0)
    assert [e.attempts for e in entries(finished)] == [1] * 6


def test_a_failing_cell_stops_no_other_and_is_tried_again(here, cache, own_engine):
    engine = own_engine(failing(lambda cell: cell.depth == 4 and cell.seed == 1))
    summary = run(here, cache, engine=engine, replace=QUICK)
    assert (summary.done, summary.failed) == (5, 1)
    assert "RuntimeError: a cosmic ray" in next(e.error for e in entries(here / "run") if e.state == "failed")
    assert run(here, cache, replace=QUICK).done == 6


@pytest.mark.soak
def test_a_full_disk_stops_a_study_at_the_first_cell_and_keeps_what_is_done(here, cache, own_engine):
    """It would fail every other cell, too."""
    tried = []

    def before(item):
        if isinstance(item, CellTask):
            tried.append(item.cell.key)
            if len(tried) > 2:
                file = here / "run" / "weights" / "x.safetensors"
                raise OutputError(f"can't write {file}: {os.strerror(errno.ENOSPC)}")

    with pytest.raises(OutputError, match=r"can't write .*x.safetensors: No space left on device; the study stops"):
        run(here, cache, engine=own_engine(watched(before)), replace=QUICK)
    assert len(tried) == 3
    states = [entry.state for entry in entries(here / "run")]
    assert (states.count("done"), states.count("waiting"), states.count("failed")) == (2, 4, 0)
    assert run(here, cache, replace=QUICK).done == 6


def test_smaller_training_sets_are_inside_larger_ones(here, cache, own_engine):
    from skythaw.study.cell_sets import load_sets

    drawn = {}

    def look(task):
        sets = load_sets(task.cell, task.locations, torch.device("cpu"))
        drawn[task.cell.train_size, task.cell.seed] = set(sets.ids["train"])
        raise RuntimeError("seen enough")

    change = {"[75]": '[15, 30, "all"]', 'depth = ["0%", "50%", "100%"]': "depth = [0]"}
    run(here, cache, engine=own_engine(watched(look)), replace=change)
    sizes = sorted({size for size, _ in drawn})
    assert sizes[:2] == [15, 30]
    for seed in (0, 1):
        nested = [drawn[size, seed] for size in sizes]
        assert [len(ids) for ids in nested] == sizes
        assert nested[0] < nested[1] < nested[2]
    assert drawn[15, 0] != drawn[15, 1], "each seed draws its own"


def test_the_learning_rate_is_settled_on_validation_for_each_depth(here, cache):
    run(here, cache, replace={"seed = [0, 1]": "seed = [0]\nlr = [1e-6, 5e-3]", "epochs = 7": "epochs = 3"})
    found = facts(here / "run")
    assert len(found["rows"]) == 3, "one row a depth, not one a rate"
    assert found["axes"] == []
    by_key = {e.key: e for e in entries(here / "run")}
    for row in found["rows"]:
        same = [e for e in by_key.values() if e.cell.depth == row["depth"]]
        best = max(same, key=lambda e: (e.result.peak_score, -e.cell.recipe.lr))
        assert row["lr"]["mean"] == best.cell.recipe.lr
    assert found["rows"][-1]["lr"]["mean"] == 5e-3, "a millionth teaches nothing"


def test_rates_race_once_for_all_seeds(here, cache):
    """Trials are kept beside the cells, are none of them, and are not run again."""
    auto = {'"0%", "50%", "100%"': '"0%", "50%"', "lr = 5e-3": 'lr = "auto"', "epochs = 7": "max_steps = 15"}
    run(here, cache, replace=auto)
    cells = entries(here / "run")
    assert len(cells) == 4
    for depth in {e.cell.depth for e in cells}:
        one, other = (e.result for e in cells if e.cell.depth == depth)
        assert one.lr == other.lr
        assert one.lr_trials == other.lr_trials
        assert one.lr == max(one.lr_trials, key=lambda t: (t["score"], -t["lr"]))["lr"]
    with Ledger.read(here / "run") as ledger:
        trials, told = ledger.entries("trial"), status(ledger)
    assert {t.state for t in trials} == {"done"}
    assert {t.cell.seed for t in trials} == {0}
    assert not any("test" in t.result.scores for t in trials)
    assert len(trials) == sum(len(e.result.lr_trials) for e in cells if e.cell.seed == 0)
    assert told["cells"] == told["done"] == 4
    run(here, cache, replace=auto)
    with Ledger.read(here / "run") as ledger:
        assert {e.attempts for e in (*ledger.entries(), *ledger.entries("trial"))} == {1}


def test_a_training_that_stumbles_begins_anew_at_a_lower_rate(here, cache, monkeypatch):
    tried = []

    def stumbling(model, training, validation, recipe, seed, told):
        tried.append(recipe.lr)
        found = fit(model, training, validation, recipe, seed, told)
        found.stumbled = True
        return found

    monkeypatch.setattr(run_cell, "fit", stumbling)
    short = {'"0%", "50%", "100%"': '"50%"', "seed = [0, 1]": "seed = [0]", "epochs = 7": "max_steps = 15"}
    run(here, cache, replace=short | {"lr = 5e-3": 'lr = "auto"'})
    (cell,) = entries(here / "run")
    raced = max(cell.result.lr_trials, key=lambda t: (t["score"], -t["lr"]))["lr"]
    assert tried[len(cell.result.lr_trials) :] == [raced, *slower_rates(cell.cell, raced)]
    assert cell.result.lr == tried[-1] < raced
    assert f"the learning rate {raced:g} was too high for it: trained anew at {tried[-1]:g}" in cell.result.alarms
    monkeypatch.undo()
    run(here, cache, "given", replace=short | {"lr = 5e-3": f"lr = {cell.result.lr}"})
    (given,) = entries(here / "given")
    assert given.result.scores == cell.result.scores
    assert slower_rates(given.cell, cell.result.lr) == ()


@pytest.mark.soak
def test_two_threads_give_the_same_bits_in_any_engine(here, cache):
    """Also where the process has used its threads before: weights from a file are tried in it first."""
    from skythaw.backbones.known_backbones import backbone
    from skythaw.backbones.network import build
    from skythaw.backbones.pretrained_weights import RANDOM

    save_file(build(backbone("timm:test_efficientnet"), RANDOM).features.state_dict(), here / "w.safetensors")
    changes = QUICK | {
        '"0%", "50%", "100%"': '"50%"',
        "seed = [0, 1]": "seed = [0]",
        "batch = 16": "batch = 16\nthreads = 2",
        '= "random"': '= "w.safetensors"',
    }
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.rand(1_000_000).exp().sum()
    try:
        run(here, cache, "serial", replace=changes)
    finally:
        torch.set_num_threads(before)
    run(here, cache, "processes", engine="processes", replace=changes)
    assert digests(here / "serial") == digests(here / "processes")


def test_the_peak_of_memory_is_the_cells_own(here, cache):
    """A small cell after a large one, in one process."""
    small, large = {"[75]": "[30]", "batch = 16": "batch = 4"}, {"[75]": "[75]", "batch = 16": "batch = 75"}
    common = QUICK | {
        "seed = [0, 1]": "seed = [0]",
        '["0%", "50%", "100%"]': '["100%"]',
        "crop = 32": "crop = 32\nsize = 128",
    }
    peaks = {}
    for name, change in (("first", small), ("large", large), ("second", small)):
        run(here, cache, name, replace={**common, **change})
        peaks[name] = entries(here / name)[0].result.peak_memory
    assert peaks["large"] > peaks["first"] + 50e6
    assert peaks["second"] < peaks["large"] - 50e6


def test_an_axis_of_scale_has_rows_of_its_own(here, cache):
    axes = {"seed = [0, 1]": "seed = [0]\ncrop = [32, 16]\nsize = [32]", "crop = 32": ""}
    run(here, cache, replace=QUICK | axes)
    found = facts(here / "run")
    assert found["axes"] == ["crop", "size"]
    assert sorted((r["crop"], r["depth"]) for r in found["rows"]) == [(c, d) for c in (16, 32) for d in (0, 4, 7)]
    assert len(found["recommended"]) == 1
    assert found["recommended"][0]["crop"] in (16, 32)


def test_an_external_test_set(here, cache):
    make_survey(here / "other.parquet", objects=45, seed=9, prefix="999")
    both = {'path = "survey.parquet"': 'path = "survey.parquet"\ntest_path = "other.parquet"'}
    run(here, cache, replace=QUICK | both | {"seed = [0, 1]": "seed = [0]"})
    ids = set(read_cutouts(here / "other.parquet").object_ids)
    for table in predictions(here / "run").values():
        parts = np.array(table["part"].to_pylist())
        assert set(np.array(table["object_id"].to_pylist())[parts == "test"]) == ids
        assert (parts == "validation").sum() > 0


def start(here, cache, *arguments, group=False):
    return subprocess.Popen(
        [*SKYTHAW, "study", "run", "study.toml", "--out", "run", "--device", "cpu", *arguments],
        cwd=here,
        env={**os.environ, "SKYTHAW_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=group,
    )


def wait_until(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def count(folder, state):
    """Cells in that state; none while the ledger is being made."""
    try:
        return sum(e.state == state for e in entries(folder))
    except LedgerError:
        return 0


def running_in(folder):
    return count(folder, "running")


def done_in(folder):
    return count(folder, "done")


@pytest.mark.soak
def test_kill_and_resume_give_what_an_undisturbed_run_gives(finished, here, cache):
    """Killed at whatever moment it is, children too: no finished cell is lost, the result is the same."""
    for kill in range(2):
        with start(here, cache, "--workers", "2") as process:
            wait_until(lambda n=kill: done_in(here / "run") > n, process)
            kept = {e.key for e in entries(here / "run") if e.state == "done"}
            process.kill()
            process.wait()
        assert kept <= {e.key for e in entries(here / "run") if e.state == "done"}
    assert run(here, cache).done == 6
    assert digests(here / "run") == digests(finished)
    assert all(e.attempts <= 3 for e in entries(here / "run"))
    assert not list(here.rglob("*.tmp")), "what the kills left is swept away"


@pytest.mark.soak
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(here, cache, how):
    with start(here, cache, "--workers", "2") as process:
        wait_until(lambda: done_in(here / "run") > 0, process)
        process.send_signal(how)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "finished cells are kept in run, and the same command goes on" in said
    assert "Traceback" not in said
    states = {e.state for e in entries(here / "run")}
    assert "running" not in states
    assert not _processes_with(str(here)), "no worker is left"


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [2, 6])
def test_ctrl_c_on_a_terminal_reaches_workers_too_and_is_as_quiet(here, cache, seconds):
    """A terminal signals the whole group, perhaps while workers are still importing."""
    with start(here, cache, "--workers", "2", group=True) as process:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert process.returncode in (130, -signal.SIGINT), said  # before main() runs, Python's own way
    assert "Traceback" not in said or process.returncode == -signal.SIGINT
    assert not _processes_with(str(here))


@pytest.mark.soak
def test_two_runs_on_one_folder_share_the_work(finished, here, cache):
    with start(here, cache, "--workers", "1") as one, start(here, cache, "--workers", "1") as two:
        wait_until(lambda: running_in(here / "run") == 2, one)
        said = one.communicate(timeout=300)[0], two.communicate(timeout=300)[0]
    assert (one.returncode, two.returncode) == (0, 0), said
    assert [e.attempts for e in entries(here / "run")] == [1] * 6, "no cell was done twice"
    assert digests(here / "run") == digests(finished)


def test_the_command_line_tells_the_same_story(finished, skythaw, skythaw_process):
    here = finished.parent
    done = skythaw_process("study", "plan", "study.toml", "--out", "run", "--json", cwd=here)
    plan = json.loads(done.stdout)
    assert [c["state"] for c in plan["cells"]] == ["done"] * 6
    assert plan["flops_left"] == 0
    assert {c["key"] for c in plan["cells"]} == set(digests(finished))
    status = json.loads(skythaw_process("study", "status", "run", "--json", cwd=here).stdout)
    assert {k: status[k] for k in ("schema", "cells", "done", "failed", "running", "seconds_left")} == {
        "schema": 1,
        "cells": 6,
        "done": 6,
        "failed": 0,
        "running": 0,
        "seconds_left": 0,
    }
    assert json.loads(skythaw("report", "run", "--json", cwd=here).stdout) == json.loads(json.dumps(facts(finished)))
    told = skythaw_process("report", "run", "--json", "r.json", "--picture", "p.svg", cwd=here)
    assert told.returncode == 0, told.stderr
    assert json.loads((here / "r.json").read_text()) == json.loads(json.dumps(facts(finished)))
    assert "<svg" in (here / "p.svg").read_text()[:500]
    for row in facts(finished)["rows"]:
        assert re.search(rf"{row['depth']} of 7\b.* {row['macro_f1']['mean']:.3f}\b", told.stdout)


def test_a_run_of_older_days_which_names_its_most_steps_goes_on(finished, cache, tmp_path):
    here = shutil.copytree(finished.parent, tmp_path / "here")
    said = {"epochs = 7": "epochs = 7\nmax_steps = 4000"}
    assert run(here, cache, replace=said).done == 6
    assert {entry.attempts for entry in entries(here / "run")} == {1}


def test_a_changed_study_in_an_old_folder_is_refused(finished, skythaw):
    here = finished.parent
    (here / "changed.toml").write_text((here / "study.toml").read_text().replace("epochs = 7", "epochs = 6"))
    done = skythaw("study", "run", "changed.toml", "--out", "run", cwd=here)
    assert done.returncode == 2
    assert "holds another study (recipe.epochs: there 7, now 6)" in done.stderr
    assert len(entries(finished)) == 6


def _processes_with(text):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if text in (process / "cmdline").read_text() or text in str((process / "cwd").readlink()):
                found.append(process.name)
        except OSError:
            continue
    return found
