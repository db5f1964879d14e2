"""The ledger loses no finished cell, gives no cell to two runners, and refuses another study."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from helpers_soak import soak
from skythaw.errors import LedgerError, OutputError
from skythaw.study.cell_result import Result
from skythaw.study.ledger import Ledger
from skythaw.study.study_status import status
from test_spec import cell

TESTS = Path(__file__).parent
STUDY = {"grid": {"seed": [0, 1, 2]}, "recipe": {"epochs": 3, "lr": 0.001}}


def cells():
    return [(cell(seed=seed), 1.0 + seed) for seed in range(3)]


def result(key, seconds=2.0):
    return Result(
        key=key,
        classes=("A", "B"),
        scores={},
        curves=[],
        peak_epoch=1,
        peak_score=0.5,
        gap=0.0,
        lr=1e-3,
        lr_trials=[],
        alarms=[],
        blocks=4,
        parameters=10,
        trained_parameters=1,
        tpr=0.1,
        tlr=0.1,
        tfr=0.1,
        file_bytes=40,
        latency=1.0,
        seconds={"total": seconds},
        peak_memory=1,
        device="cpu",
        weights_sha256="w",
        versions={},
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def test_results_come_back_as_they_went_in(folder):
    keys = [c.key for c, _ in cells()]
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as runner:
        assert all(ledger.claim(key, runner) for key in keys)
        ledger.add(keys[0], result(keys[0]))
        ledger.fail(keys[1], "Traceback: it broke")
    with Ledger.read(folder) as ledger:
        entries = ledger.entries()
        assert ledger.study == STUDY
    assert [e.cell for e in entries] == [c for c, _ in cells()], "in the order of the study"
    assert [e.state for e in entries] == ["done", "failed", "waiting"], "a claim ends with its runner"
    assert entries[0].result == result(keys[0])
    assert entries[1].error == "Traceback: it broke"


def test_a_finished_cell_is_never_claimed_again_a_failed_one_is(folder):
    done, failed, _ = (c.key for c, _ in cells())
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as runner:
        ledger.claim(done, runner)
        ledger.add(done, result(done))
        ledger.claim(failed, runner)
        ledger.fail(failed, "x")
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as runner:
        assert not ledger.claim(done, runner)
        assert ledger.claim(failed, runner)
        assert [e.attempts for e in ledger.entries()] == [1, 2, 0]


def test_a_runner_does_not_get_its_own_cell_twice(folder):
    key = cells()[0][0].key
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as runner:
        assert ledger.claim(key, runner)
        assert not ledger.claim(key, runner)


def test_what_killed_runs_left_is_swept_away(folder):
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as living:
        mine, other = cells()[0][0].key, cells()[1][0].key
        ledger.claim(mine, living)
        (folder / "weights").mkdir()
        for key in (mine, other):
            (folder / "weights" / f".{key}.safetensors.123.tmp").touch()
        (folder / "runners" / "gone.lock").touch()
        with Ledger.create(folder, STUDY, cells()) as second, second.runner():
            assert [p.name for p in (folder / "weights").iterdir()] == [f".{mine}.safetensors.123.tmp"]
            assert not (folder / "runners" / "gone.lock").exists()
        assert not ledger.claim(mine, living), "the living runner's claim still stands"


def test_a_folder_that_may_only_be_read_can_be_read(folder):
    """As on a CD, or in a colleague's archive: not even SQLite's own files can be made."""
    Ledger.create(folder, STUDY, cells()).close()
    assert read_only(folder) == "3 cells, 0 done\n"


def test_a_folder_of_a_killed_run_that_may_only_be_read_has_its_newest_cells(folder, tmp_path):
    key, copy = cells()[0][0].key, tmp_path / "copy"
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as runner:
        ledger.claim(key, runner)
        ledger.add(key, result(key))
        copy.mkdir()
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):  # as after a kill
            shutil.copyfile(folder / name, copy / name)
    assert (copy / "ledger.sqlite-wal").stat().st_size
    assert read_only(copy) == "3 cells, 1 done\n"


def read_only(folder):
    """What another process says of a folder in which it may write nothing."""
    script = """
        import os, sys
        from pathlib import Path
        from skythaw.study.ledger import Ledger
        os.setuid(65534)
        with Ledger.read(Path(sys.argv[1])) as ledger:
            entries = ledger.entries()
            print(f"{len(entries)} cells, {sum(each.state == 'done' for each in entries)} done")
    """
    if os.getuid() == 0:
        for path in (folder, *folder.parents):
            if path.owner() == "root" and path.name:
                path.chmod(0o755)
    else:
        script = script.replace("os.setuid(65534)", "")
        folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), folder], capture_output=True, text=True, check=False
    )
    folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_while_results_are_kept(folder):
    """A real limit: SQLite may not make its file larger."""
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as runner:
        key = cells()[0][0].key
        ledger.claim(key, runner)
        # the limit is of the connection, which is the ledger's own
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match=r"can't write .*run: database or disk is full"):
            ledger.fail(key, "x" * 1_000_000)
        with pytest.raises(OutputError, match="disk is full"):
            ledger.note("x", "x" * 1_000_000)
        assert ledger.entries()[0].state == "running", "nothing is half-written"


def test_two_runners_never_hold_one_cell(folder):
    key = cells()[0][0].key
    with Ledger.create(folder, STUDY, cells()) as one, Ledger.create(folder, STUDY, cells()) as two:
        with one.runner() as first, two.runner() as second:
            assert one.claim(key, first)
            assert not two.claim(key, second)
            assert [e.state for e in two.entries()] == ["running", "waiting", "waiting"]
        with two.runner() as second:
            assert two.claim(key, second), "what was given back can be taken"


def test_the_claim_of_a_killed_runner_is_free_at_once(folder):
    script = """
        import sys, time
        from pathlib import Path
        from test_ledger import STUDY, cells
        from skythaw.study.ledger import Ledger
        with Ledger.create(Path(sys.argv[1]), STUDY, cells()) as ledger, ledger.runner() as runner:
            ledger.claim(cells()[0][0].key, runner)
            print("claimed", flush=True)
            time.sleep(600)
    """
    other = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), folder],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
    )
    assert other.stdout.readline() == b"claimed\n"
    key = cells()[0][0].key
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as runner:
        assert not ledger.claim(key, runner)
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert ledger.entries()[0].state == "waiting"
        assert ledger.claim(key, runner)
    other.stdout.close()


@pytest.mark.parametrize("most", soak([3, 20]))
def test_kill_at_any_moment_loses_no_finished_cell(folder, most):
    """Kills of a process that does nothing but finish cells; what it said was kept must be there."""
    script = """
        import sys
        from pathlib import Path
        from test_ledger import STUDY, many, result
        from skythaw.study.ledger import Ledger
        with Ledger.create(Path(sys.argv[1]), STUDY, many()) as ledger, ledger.runner() as runner:
            for c, _ in many():
                if ledger.claim(c.key, runner):
                    ledger.add(c.key, result(c.key))
                    print(c.key, flush=True)
            print("all", flush=True)
    """
    said, kills, ended = [], 0, False
    while not ended:
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), folder],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        ) as process:
            if kills < most:
                first = process.stdout.readline()
                time.sleep(0.002 * kills)
                process.kill()
                kills += 1
            else:
                first = ""
            lines = (first + process.stdout.read()).split()
        ended = "all" in lines
        said += [line for line in lines if len(line) == 64]
        with Ledger.read(folder) as ledger:
            done = {e.key for e in ledger.entries() if e.state == "done"}
        assert set(said) <= done
    assert len(said) == len(set(said)), "no cell is done twice"
    assert done == {c.key for c, _ in many()}
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def many():
    return [(cell(seed=seed), 1.0) for seed in range(400)]


def test_a_changed_study_is_refused_with_what_differs(folder):
    Ledger.create(folder, STUDY, cells()).close()
    changed = {**STUDY, "recipe": {"epochs": 4, "lr": 0.001}}
    with pytest.raises(LedgerError, match=r"holds another study \(recipe.epochs: there 3, now 4\)"):
        Ledger.create(folder, changed, cells())


def test_changed_data_and_a_search_in_the_folder_of_a_run_are_said_in_words(folder):
    study = STUDY | {"sha256": {"data": "0" * 64, "test": None, "weights": {"vgg16": "1" * 64}}}
    with Ledger.create(folder, study, cells()) as ledger:
        ledger.note("data", {"path": "/sky/survey.parquet", "test_path": None})
    said = r"is of skythaw study run, and study search needs a folder of its own: give another --out"
    with pytest.raises(LedgerError, match=said):
        Ledger.create(folder, study | {"search": {"chance": 0.9}}, cells())
    changed = study | {"sha256": {"data": "2" * 64, "test": "3" * 64, "weights": {"vgg16": "4" * 64}}}
    with pytest.raises(LedgerError) as caught:
        Ledger.create(folder, changed, cells())
    assert (
        "(/sky/survey.parquet has changed since, or another file takes its place; test: there not given, now given; "
        "the file of weights of vgg16 has changed since, or another file takes its place)"
    ) in str(caught.value)


def open_ledgers():
    return [file for file in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if "ledger.sqlite" in file]


def test_a_refused_ledger_is_not_left_open(folder):
    """Python 3.13 warns of connections that nobody closed."""
    Ledger.create(folder, STUDY, cells()).close()
    torn = folder.with_name("torn")
    shutil.copytree(folder, torn)
    content = bytearray((torn / "ledger.sqlite").read_bytes())
    content[2000:4000] = bytes(2000)
    (torn / "ledger.sqlite").write_bytes(content)
    for look in (lambda: Ledger.create(folder, STUDY | {"recipe": 1}, cells()), lambda: Ledger.read(torn)):
        with pytest.raises(LedgerError) as caught:
            look()
        assert not open_ledgers(), caught
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        db.executescript("ALTER TABLE meta RENAME TO other")
    with pytest.raises(LedgerError, match="another program's") as caught:
        Ledger.read(folder)
    assert not open_ledgers(), caught


def test_a_folder_that_is_no_run_and_one_that_is_torn(folder):
    with pytest.raises(LedgerError, match="is not a run folder"):
        Ledger.read(folder)
    folder.mkdir()
    with sqlite3.connect(folder / "ledger.sqlite") as db:
        db.execute("CREATE TABLE albums (title TEXT)")
    db.close()
    with pytest.raises(LedgerError, match="is another program's"):
        Ledger.read(folder)
    (folder / "ledger.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerError, match="can't read"):
        Ledger.read(folder)
    with pytest.raises(LedgerError, match="can't read"):
        Ledger.create(folder, STUDY, cells())


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_damaged_page_is_said_in_one_line(folder, page):
    Ledger.create(folder, STUDY, cells()).close()
    with (folder / "ledger.sqlite").open("r+b") as file:
        file.seek(4096 * page)
        file.write(b"\xa5" * 4096)

    def all_of_it():
        with Ledger.read(folder) as ledger:
            return ledger.study, ledger.entries()

    with pytest.raises(LedgerError, match=r"can't read .*ledger\.sqlite: database disk image is malformed"):
        all_of_it()


def test_a_study_that_is_only_starting_is_said_to_be(folder):
    """Its file is there before what is in it."""
    folder.mkdir()
    (folder / "ledger.sqlite").touch()
    with pytest.raises(LedgerError, match="is not a run folder yet: its study is only starting"):
        Ledger.read(folder)
    Ledger.create(folder, STUDY, cells()).close()
    with Ledger.read(folder) as ledger:
        assert len(ledger.entries()) == len(cells())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't write"):
        Ledger.create(tmp_path / "file" / "run", STUDY, cells())


def test_time_left_is_shared_out_by_cost(folder):
    keys = [c.key for c, _ in cells()]
    with Ledger.create(folder, STUDY, cells()) as ledger, ledger.runner() as runner:
        assert status(ledger)["seconds_left"] is None, "nothing is known yet"
        ledger.claim(keys[1], runner)
        ledger.add(keys[1], result(keys[1], seconds=4.0))  # cost 2: two seconds for one
        found = status(ledger)
        assert (found["cells"], found["done"], found["running"]) == (3, 1, 0)
        assert found["seconds_left"] == pytest.approx(2 * (1 + 3))
