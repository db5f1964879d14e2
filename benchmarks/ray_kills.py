"""Random kills while a study, or a prediction in shards, runs on a Ray cluster: what is lost, what is done twice.

``python benchmarks/ray_kills.py study --kills 50`` makes a small survey and study, runs it undisturbed (engine serial),
then on a cluster of two nodes of this machine while at random moments a worker, a whole node (another one comes), or
the driver is killed (kill -9; it is started again). It ends with an error unless every cell is done once, none that was
finished was lost, and all predictions equal the undisturbed ones. ``predict`` does the same for shards and rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers_bundle import make_bundle
from helpers_ray import SMALL, cluster, workers_of
from helpers_study import make_survey, write_study
from helpers_survey import rows, split

GRID = {
    '"0%", "50%", "100%"': '"0%", "50%", "100%"',
    "seed = [0, 1]": "seed = [0, 1, 2, 3]",
    "epochs = 7": "epochs = 20",
}


class Study:
    """Cells are what is done."""

    def __init__(self, folder: Path) -> None:
        make_survey(folder / "survey.parquet")
        self.folder, self.file = folder, write_study(folder, replace=GRID)
        self.out = folder / "run"

    def command(self, out: Path) -> list[str]:
        return ["study", "run", str(self.file), "--out", str(out), "--device", "cpu"]

    def done(self, out: Path) -> dict[str, str]:
        """Checksum of what each finished cell gave, with the time of its end."""
        if not (out / "ledger.sqlite").exists():
            return {}
        with sqlite3.connect(f"file:{out}/ledger.sqlite?mode=ro", uri=True, timeout=60) as db:
            found = db.execute("SELECT key, result || finished FROM cells WHERE state = 'done'").fetchall()
        return {key: hashlib.sha256(text.encode()).hexdigest() for key, text in found}

    def content(self, out: Path) -> dict[str, str]:
        """What was predicted."""
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (out / "predictions").iterdir()}


class Predict:
    """Shards are what is done."""

    def __init__(self, folder: Path) -> None:
        self.bundle = make_bundle(folder, folder / "cache")
        make_survey(folder / "many.parquet", 3000)
        self.nights, self.out = split(folder / "many.parquet", folder / "nights", 5, 50), folder / "out"

    def command(self, out: Path) -> list[str]:
        return ["predict", str(self.bundle), str(self.nights), "-o", str(out), "--shard", "50", "--device", "cpu"]

    def done(self, out: Path) -> dict[str, str]:
        return {p.name: str(p.stat().st_mtime_ns) for p in (out / "shards").glob("0*")}

    def content(self, out: Path) -> dict[str, str]:
        table = rows(out)
        assert len(set(table["object_id"].to_pylist())) == len(table) == 3000, "a row is missing or there twice"
        return {name: hashlib.sha256(str(table[name].to_pylist()).encode()).hexdigest() for name in table.column_names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["study", "predict"])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, default=8.0, help="seconds between kills, at most")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ray-kills-"))
    try:
        work = {"study": Study, "predict": Predict}[options.what](folder)
        run(work, folder / "undisturbed", ["--engine", "serial"], folder).wait()
        with cluster() as nodes:
            print(json.dumps(disturbed(work, nodes, options, folder)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(work: Study | Predict, out: Path, engine: list[str], folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "SKYTHAW_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "skythaw", *work.command(out), *engine]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def disturbed(work: Study | Predict, nodes: object, options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Kill until there were enough kills, then let it end."""
    draw, kills, starts, start = random.Random(options.seed), Counter(), 0, time.monotonic()
    engine = ["--engine", "ray", "--address", nodes.address, "--node-cache", str(folder / "node-{node}")]
    finished: dict[str, str] = {}
    lost = twice = 0
    driver = None
    while True:
        if driver is None or driver.poll() is not None:
            if driver is not None and driver.returncode == 0 and kills.total() >= options.kills:
                break
            if driver is not None and driver.returncode == 0:  # all is done before the kills are: begin again
                same(work, work.out, folder)
                shutil.rmtree(work.out)
                finished = {}
            driver, starts = run(work, work.out, engine, folder), starts + 1
        time.sleep(draw.uniform(0.2, options.pause) if kills.total() < options.kills else 1.0)
        now = work.done(work.out)
        lost += len(finished.keys() - now.keys())
        twice += sum(now[key] != finished[key] for key in finished.keys() & now.keys())
        finished = now
        if kills.total() < options.kills:
            kills[kill(draw, nodes, driver)] += 1
    same(work, work.out, folder)
    if lost or twice:
        raise SystemExit(f"{lost} lost, {twice} done twice")
    done = {"kills": dict(kills), "drivers": starts, "finished": len(finished), "lost": lost, "done_twice": twice}
    return done | {"equal_to_undisturbed": True, "seconds": round(time.monotonic() - start)}


def kill(draw: random.Random, nodes: object, driver: subprocess.Popen[bytes]) -> str:
    """Kill something; what it was."""
    what = draw.choices(["worker", "node", "driver"], [7, 1.5, 1.5])[0]
    workers = workers_of(nodes)
    if what == "node":
        nodes.remove_node(draw.choice(sorted(nodes.worker_nodes, key=id)), allow_graceful=False)
        nodes.add_node(num_cpus=1, **SMALL)
    elif what == "worker" and workers:
        os.kill(draw.choice(workers), signal.SIGKILL)
    else:
        what = "driver"
        driver.kill()
        driver.wait()
    return what


def same(work: Study | Predict, out: Path, folder: Path) -> None:
    if work.content(out) != work.content(folder / "undisturbed"):
        raise SystemExit("the outcome differs from the undisturbed one")


if __name__ == "__main__":
    main()
