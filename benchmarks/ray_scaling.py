"""What Ray costs and brings on this machine: the constants of the model in docs/ray.md, and 1 worker against 2.

``python benchmarks/ray_scaling.py`` prints one JSON line a measurement: time to start, empty items a second, bytes a
second to a node, images a second of `predict` into shards by 1 and 2 workers of each engine, and the memory of the
driver and the largest worker for more and more objects (there without a network: constant answers, so that a million
objects take minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import pyarrow.parquet as pq

from helpers_bundle import make_bundle
from helpers_engines import square
from helpers_ray import processes
from helpers_study import make_survey
from helpers_survey import ConstantWork
from skythaw.engines.ray import Ray
from skythaw.serving import survey
from skythaw.serving.predict import Setting
from skythaw.serving.survey import Spread, predict_survey

ROWS = 3000
"""of one file"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=12_000, help="predicted by a network; 0: none")
    parser.add_argument("--memory", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="objects")
    parser.add_argument("--one-memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_memory:
        memory(options.folder, options.one_memory)
        return
    print(json.dumps({"machine": platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}))
    overheads()
    with tempfile.TemporaryDirectory(prefix="ray-scaling-") as name:
        folder = Path(name)
        bundle = make_bundle(folder, folder / "cache")
        make_survey(folder / "night.parquet", ROWS)
        if options.objects:
            speeds(bundle, folder, options.objects)
        for objects in options.memory:
            command = [sys.executable, __file__, "--one-memory", str(objects), "--folder", name]
            subprocess.run(command, check=True)


def overheads() -> None:
    start = time.perf_counter()
    with Ray(2) as engine:
        list(engine.map(square, [1]))
        say(what="start Ray and do one item", seconds=time.perf_counter() - start)
        start = time.perf_counter()
        list(engine.map(square, range(2000)))
        say(what="empty items", per_second=2000 / (time.perf_counter() - start))
        start, data = time.perf_counter(), b"x" * (32 << 20)
        for _ in range(10):
            engine._ray.get(engine._ray.put(data))
        say(what="bytes into the store and out again", per_second=10 * len(data) / (time.perf_counter() - start))


def speeds(bundle: Path, folder: Path, objects: int) -> None:
    """Images a second between the first shard and the last."""
    inputs, setting = linked(folder, objects), Setting(device="cpu", shard=1000)
    for spread in (
        Spread("serial"),
        Spread("processes", 1),
        Spread("ray", 1),
        Spread("processes", 2),
        Spread("ray", 2),
    ):
        seen: list[tuple[float, int]] = []
        out, start = folder / f"{spread.engine}-{spread.workers}", time.perf_counter()
        predict_survey(
            bundle, [inputs], out, setting, spread, lambda done, _, s=seen: s.append((time.perf_counter(), done))
        )
        (first, begun), (last, done) = seen[1], seen[-1]
        rate, whole = (done - begun) / (last - first), objects / (time.perf_counter() - start)
        say(engine=spread.engine, workers=spread.workers, images_per_second=rate, start_included=whole)


def memory(folder: Path, objects: int) -> None:
    """Peak memory of the driver, and of the largest process of Ray's that works."""
    survey.Work = ConstantWork
    largest = 0

    def told(_done: int, _all: int) -> None:
        nonlocal largest
        workers = [pid for pid, command in processes().items() if command.startswith("ray::_work")]
        largest = max([largest, *(peak(pid) for pid in workers)])

    setting, start = Setting(device="cpu", shard=10_000), time.perf_counter()
    inputs, out = linked(folder, objects), folder / f"memory-{objects}"
    summary = predict_survey(folder / "bundle", [inputs], out, setting, Spread("ray", 2), told)
    assert summary.objects == objects
    say(
        objects=objects, driver_mb=peak(os.getpid()) / 1e6, worker_mb=largest / 1e6, seconds=time.perf_counter() - start
    )


def peak(pid: int) -> int:
    try:
        return 1024 * int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        return 0


def linked(folder: Path, objects: int) -> str:
    """A folder of so many objects: one file under many names, and the rest of one."""
    place = folder / f"objects-{objects}"
    place.mkdir()
    for number in range(objects // ROWS):
        (place / f"{number:06d}.parquet").symlink_to(folder / "night.parquet")
    if rest := objects % ROWS:
        pq.write_table(pq.read_table(folder / "night.parquet").slice(0, rest), place / "rest.parquet")
    return str(place)


def say(**facts: object) -> None:
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in facts.items()}), flush=True)


if __name__ == "__main__":
    main()
