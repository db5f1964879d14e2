"""Random kills on one machine: what is lost, what is done twice, and whether the end is that of an undisturbed run.

    python benchmarks/kills.py study search tune import predict survey export --kills 50

Each command first runs undisturbed. Then it is started again and again, and killed (kill -9, with its workers) at a
random moment, until there were enough kills; where it ends before, its outcome is compared and removed.
It ends with an error unless nothing that was finished was lost or done again, no half-written file stood under a final
name, and every outcome equals the undisturbed one.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import pyarrow.parquet as pq
from PIL import Image

from helpers_bundle import make_bundle
from helpers_study import make_survey, write_study
from helpers_survey import rows, split
from helpers_tune import NETWORK, prepared
from skythaw.bundle.bundle_file import ABOUT, CARD
from skythaw.data.cutouts import read_cutouts


class Work:
    """A command that is killed: what it asks for, what is done so far, and what comes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_survey(folder / "survey.parquet")

    def begin(self, out: Path) -> None:
        """Lay out what the command goes on from."""

    def command(self, out: Path) -> Sequence[str]:
        raise NotImplementedError

    def done(self, out: Path) -> Mapping[str, str]:
        """What is finished, each with something that would differ were it done again."""
        return {}

    def content(self, out: Path) -> Mapping[str, str]:
        """The outcome, without what is of this one run: times and names of folders."""
        raise NotImplementedError


class StudyWork(Work):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        write_study(folder, replace={"seed = [0, 1]": "seed = [0, 1, 2, 3]"})

    def command(self, out: Path) -> Sequence[str]:
        return ["study", "run", str(self.folder / "study.toml"), "--out", str(out), "--device", "cpu", "--workers", "1"]

    def done(self, out: Path) -> Mapping[str, str]:
        return finished_cells(out)

    def content(self, out: Path) -> Mapping[str, str]:
        return digests(out / "predictions", "*") | digests(out / "weights", "*")


class SearchWork(StudyWork):
    def command(self, out: Path) -> Sequence[str]:
        return [each if each != "run" else "search" for each in super().command(out)]


class TuneWork(Work):
    """Its study is chosen already: a choice depends on how fast the machine is at that moment."""

    def begin(self, out: Path) -> None:
        prepared(out, self.folder / "survey.parquet", self.folder / "cache", asked=NETWORK, depth=["0%"])

    def command(self, out: Path) -> Sequence[str]:
        network = NETWORK["backbone"][0]
        asked = ["--backbone", network, "--weights", f"{network}=random", "--budget", "3h"]
        return ["tune", str(self.folder / "survey.parquet"), "--out", str(out), *asked]

    def done(self, out: Path) -> Mapping[str, str]:
        return finished_cells(out / "run")

    def content(self, out: Path) -> Mapping[str, str]:
        return digests(out / "run" / "predictions", "*") | digests(out / "classifier", "*.safetensors")


class ImportWork(Work):
    def __init__(self, folder: Path) -> None:
        self.images = folder / "images"
        for number in range(3000):
            place = self.images / "AB"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            data = io.BytesIO()
            Image.effect_noise((24, 24), 40 + number % 50).save(data, "PNG")
            (place / f"{number}.png").write_bytes(data.getvalue())

    def command(self, out: Path) -> Sequence[str]:
        return ["data", "import", str(self.images), str(out)]

    def done(self, out: Path) -> Mapping[str, str]:
        return {"all": str(len(read_cutouts(out)))} if out.exists() else {}

    def content(self, out: Path) -> Mapping[str, str]:
        return {"file": digest(out)}


class PredictWork(Work):
    """Into one file; what is done is kept beside it, and counted by no name of its own."""

    def __init__(self, folder: Path) -> None:
        self.bundle = make_bundle(folder, folder / "cache")
        make_survey(folder / "many.parquet", 4000)
        self.many = folder / "many.parquet"

    def command(self, out: Path) -> Sequence[str]:
        return ["predict", str(self.bundle), str(self.many), "-o", f"{out}.parquet", "--device", "cpu"]

    def content(self, out: Path) -> Mapping[str, str]:
        table = pq.read_table(f"{out}.parquet")
        assert len(set(table["object_id"].to_pylist())) == len(table) == 4000, "a row is missing or there twice"
        return {"rows": hashlib.sha256(str(table.to_pylist()).encode()).hexdigest()}


class SurveyWork(PredictWork):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.nights = split(self.many, folder / "nights", 4, 50)

    def command(self, out: Path) -> Sequence[str]:
        shards = ["--shard", "100", "--device", "cpu", "--engine", "serial"]
        return ["predict", str(self.bundle), str(self.nights), "-o", str(out), *shards]

    def done(self, out: Path) -> Mapping[str, str]:
        return {path.name: str(path.stat().st_mtime_ns) for path in (out / "shards").glob("0*")}

    def content(self, out: Path) -> Mapping[str, str]:
        table = rows(out)
        assert len(set(table["object_id"].to_pylist())) == len(table) == 4000, "a row is missing or there twice"
        return {"rows": hashlib.sha256(str(sorted(table.to_pylist(), key=str)).encode()).hexdigest()}


class ExportWork(Work):
    def __init__(self, folder: Path) -> None:
        make_bundle(folder, folder / "cache")
        self.run = folder / "run"

    def command(self, out: Path) -> Sequence[str]:
        return ["export", str(self.run), str(out)]

    def done(self, out: Path) -> Mapping[str, str]:
        """A bundle is whole or not there."""
        return {"all": str(len(self.content(out)))} if out.exists() else {}

    def content(self, out: Path) -> Mapping[str, str]:
        assert (out / ABOUT).exists()
        assert (out / CARD).exists()
        return digests(out, "*")


WORK = {
    "study": StudyWork,
    "search": SearchWork,
    "tune": TuneWork,
    "import": ImportWork,
    "predict": PredictWork,
    "survey": SurveyWork,
    "export": ExportWork,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="+", choices=list(WORK))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=math.inf, help="end earlier, with the kills that there were")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for what in options.what:
        folder = Path(tempfile.mkdtemp(prefix="kills-"))
        try:
            print(json.dumps({"what": what} | disturbed(WORK[what](folder), folder, options)), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def disturbed(work: Work, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Kill until there were enough kills, then let it end."""
    start = time.monotonic()
    undisturbed, usual = ended(work, folder, folder / "undisturbed")
    out, draw = folder / "out", random.Random(options.seed)
    kills, whole, with_some_done = 0, 0, 0
    finished: Mapping[str, str] = {}
    work.begin(out)
    while kills < options.kills and time.monotonic() - start < 60 * options.minutes:
        process = started(work, folder, out)
        with suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.2, 1.1 * usual))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        elif process.returncode:
            raise SystemExit(f"it failed: {' '.join(work.command(out))}")
        now = work.done(out)
        if lost := [key for key, value in finished.items() if now.get(key) != value]:
            raise SystemExit(f"lost or done again: {lost}")
        finished, with_some_done = now, with_some_done + bool(now)
        if process.returncode == 0:
            whole, finished = whole + same(work, out, undisturbed), {}
            clear(folder, out)
            work.begin(out)
    end, _ = ended(work, folder, out, begin=False)
    assert end == undisturbed, "the outcome differs from the undisturbed one"
    left = sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
    return {
        "kills": kills,
        "after something was done": with_some_done,
        "whole outcomes, all equal": whole + 1,
        "lost or done again": 0,
        "hidden files left": len(left),
        "seconds": round(time.monotonic() - start),
    }


def started(work: Work, folder: Path, out: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "SKYTHAW_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "skythaw", *work.command(out)]
    log = (folder / "log").open("wb")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def ended(work: Work, folder: Path, out: Path, begin: bool = True) -> tuple[Mapping[str, str], float]:
    """The outcome of a run that nobody disturbs, and the seconds that it took."""
    if begin:
        work.begin(out)
    start = time.monotonic()
    if started(work, folder, out).wait():
        raise SystemExit((folder / "log").read_text())
    return work.content(out), time.monotonic() - start


def same(work: Work, out: Path, undisturbed: Mapping[str, str]) -> int:
    assert work.content(out) == undisturbed, "the outcome differs from the undisturbed one"
    return 1


def clear(folder: Path, out: Path) -> None:
    """Remove an outcome: a folder, a file, or a file with an ending."""
    for path in folder.glob(f"{out.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def finished_cells(run: Path) -> dict[str, str]:
    """Checksum of what each finished cell gave, with the time of its end."""
    if not (run / "ledger.sqlite").exists():
        return {}
    try:
        with sqlite3.connect(f"file:{run}/ledger.sqlite?mode=ro", uri=True, timeout=60) as db:
            found = db.execute("SELECT key, result || finished FROM cells WHERE state = 'done'").fetchall()
    except sqlite3.OperationalError:  # it has no table yet
        return {}
    return {key: hashlib.sha256(text.encode()).hexdigest() for key, text in found}


def digests(folder: Path, pattern: str) -> dict[str, str]:
    return {path.name: digest(path) for path in folder.glob(pattern) if path.is_file()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
