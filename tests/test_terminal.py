"""Long work at a terminal, as a user sees it: progress bars with counts and time left, and Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import pytest

from helpers_bundle import make_bundle
from helpers_ray import processes
from helpers_soak import soak
from helpers_study import make_survey, write_study
from helpers_survey import rows, split
from skythaw.cli.terminal import brief, print_json
from skythaw.engines import ray_start

SMALL = {'"0%", "50%", "100%"': '"0%", "50%"', "epochs = 7": "epochs = 2", "seed = [0, 1]": "seed = [0]"}
LONG = {"epochs = 7": "epochs = 500"}
STOPS = [("processes", "Ctrl-C"), ("ray", "Ctrl-C"), ("ray", "SIGTERM")]

AT_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "skythaw", *sys.argv[1:]])
"""
"""makes the terminal that of its session, so that Ctrl-C reaches all its processes"""


class Terminal:
    """A command that runs at a terminal of 140 columns."""

    def __init__(self, *arguments, cwd, cache, temporary=None):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 140, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "SKYTHAW_CACHE": str(cache), "TERM": "xterm", "TMPDIR": str(temporary or cwd)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.ours, self.seen, self._more = ours, "", threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self.ours, 1 << 16)
            except OSError:  # nobody writes any more
                break
            with self._more:
                self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
                self._more.notify_all()

    def wait_for(self, pattern):
        with self._more:
            assert self._more.wait_for(lambda: re.search(pattern, self.seen), 200), self.seen

    def stop(self, how):
        """The user types Ctrl-C: all processes of the terminal get it; or a batch system sends SIGTERM to the first."""
        if how == "SIGTERM":
            self.process.terminate()
        else:
            os.write(self.ours, b"\x03")

    def end(self):
        """Exit code and all that was shown."""
        code = self.process.wait(300)
        self._reader.join(60)
        os.close(self.ours)
        return code, self.seen


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A bundle and a survey in three files."""
    folder = tmp_path_factory.mktemp("made")
    bundle = make_bundle(folder, cache)
    split(folder / "survey.parquet", folder / "nights")
    return folder, bundle


@pytest.fixture
def temporary():
    """A folder whose name is short enough for Ray's sockets: else its files would go to another."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        assert len(folder) <= ray_start.LONGEST_FOLDER
        yield Path(folder)


def left_of(temporary):
    """The files of ours and of Ray's in the temporary folder, and the processes that know it, once they had time."""
    deadline = time.monotonic() + 60
    while True:
        files = [each.name for each in temporary.iterdir() if re.search("ray|skythaw", each.name)]
        found = files + [command for command in processes().values() if str(temporary) in command]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["serial", "processes", "ray"])
def test_a_survey_shows_images_rate_and_time_left(made, tmp_path, cache, engine):
    folder, bundle = made
    command = ("predict", bundle, folder / "nights", "-o", "out", "--shard", 20, "--device", "cpu", "--engine", engine)
    code, seen = Terminal(*command, cwd=tmp_path, cache=cache).end()
    assert code == 0, seen
    assert "predicting" in seen
    assert re.search(r"\d+/180 images [\d.,]+/s +0:\d\d:\d\d left 0:00:\d\d", seen), seen
    assert re.search(r"wrote 180 rows to out in .* images/s", seen)


def test_a_study_shows_cells_and_time_left(tmp_path, cache):
    make_survey(tmp_path / "survey.parquet")
    file = write_study(tmp_path, replace={"epochs = 7": "epochs = 2", "seed = [0, 1]": "seed = [0]"})
    command = ("study", "run", file, "--out", "run", "--device", "cpu", "--engine", "serial")
    code, seen = Terminal(*command, cwd=tmp_path, cache=tmp_path / "cache").end()
    assert code == 0, seen
    assert re.search(r"decoding \S+ 180 images", seen), seen
    assert re.search(r"frozen part \S+ \d+ images", seen), seen
    assert re.search(r"study \S+ [12] of 3 cells +0:\d\d:\d\d left 0:\d\d:\d\d", seen), seen
    assert "3 of 3 cells are done" in seen


WORK = {
    r"verifying \S+ \d+/180 images": ("data", "verify", "survey.parquet"),
    r"rendering \S+ \d+/3 images": ("data", "mock", "mock.parquet", "--objects", 3, "--seed", 0),
    r"predicting \S+ \d+/180 images": ("predict", "bundle", "survey.parquet", "-o", "o.csv"),
}


@pytest.mark.parametrize(("pattern", "command"), soak(WORK.items(), 2), ids=["verify", "mock", "predict"])
def test_other_long_work_shows_what_is_done(made, cache, pattern, command):
    folder, _ = made
    code, seen = Terminal(*command, cwd=folder, cache=cache).end()
    assert code == 0, seen
    assert re.search(pattern, seen), seen


@pytest.mark.soak
@pytest.mark.parametrize(("engine", "how"), STOPS)
def test_a_stopped_survey_goes_on(made, tmp_path, cache, temporary, engine, how):
    folder, bundle = made
    many = ("predict", bundle, folder / "nights", "-o", "out", "--shard", 20, "--device", "cpu", "--engine", engine)
    shown = Terminal(*many, "--workers", 1, cwd=tmp_path, cache=cache, temporary=temporary)
    shown.wait_for(r"[1-9]\d*/180 images")
    assert engine != "ray" or list(temporary.glob("skythaw-ray-*")), "it is not where the test looks"
    shown.stop(how)
    code, seen = shown.end()
    assert code == 130, seen
    assert "stopped; whole shards are kept in out, and the same command goes on" in seen
    assert "Traceback" not in seen
    assert not left_of(temporary)
    code, seen = Terminal(*many, cwd=tmp_path, cache=cache).end()
    assert code == 0, seen
    assert len(set(rows(tmp_path / "out")["object_id"].to_pylist())) == 180


@pytest.mark.soak
@pytest.mark.parametrize(("engine", "how"), [("processes", "SIGTERM"), *STOPS])
def test_a_stopped_study_says_so(tmp_path, cache, temporary, engine, how):
    make_survey(tmp_path / "survey.parquet")
    file = write_study(tmp_path, replace=SMALL | LONG)
    command = ("study", "run", file, "--out", "run", "--device", "cpu", "--engine", engine, "--workers", 1)
    shown = Terminal(*command, cwd=tmp_path, cache=cache, temporary=temporary)
    shown.wait_for(r"study \S+ [01] of 2 cells")
    shown.stop(how)
    code, seen = shown.end()
    assert code == 130, seen
    assert "stopped; finished cells are kept in run, and the same command goes on" in seen
    assert "Traceback" not in seen
    assert not left_of(temporary)


def test_rates_are_written_as_people_do():
    numbers = (0.01234, 1.5, 12.34, 99.96, 2290.4, 1e8)
    assert [brief(x) for x in numbers] == ["0.0123", "1.5", "12.3", "100", "2,290", "100,000,000"]


def test_json_holds_names_that_are_no_text_as_escapes(tmp_path):
    print_json({"name": "gal\udcff\u00e9.png"}, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "name": "gal\\udcff\u00e9.png"\n}\n'
