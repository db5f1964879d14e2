"""What Ray costs and brings on this machine: the constants of the model in docs/ray.md, and 1 worker against 2.

``python benchmarks/ray_scaling.py`` prints one JSON line a measurement: time to start, empty items a second, bytes a
second to a node, shards written a second, images a second of `predict` into shards by 1 and 2 workers of each engine,
and the memory of the driver and the largest worker for more and more objects (there without a network: constant
answers, so that a million objects take minutes).

    python benchmarks/ray_scaling.py                                              # all of it
    python benchmarks/ray_scaling.py --bundle B --data D.parquet --memory         # the rates of a classifier of yours
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from helpers_bundle import make_bundle
from helpers_engines import square
from helpers_ray import processes
from helpers_study import make_survey
from helpers_survey import ConstantPredictor
from skythaw.bundle.bundle_file import read_about
from skythaw.engines.ray_engine import Ray
from skythaw.predict.predict_images import PredictSettings
from skythaw.predict.prediction_rows import as_bytes, schema_of
from skythaw.predict.survey import predict_survey as surveying
from skythaw.predict.survey.predict_survey import EngineChoice, predict_survey
from skythaw.predict.survey.remote_files import RemoteFile
from skythaw.predict.survey.survey_chunks import Chunk, SurveyChunks
from skythaw.predict.survey.survey_worker import memory_for

SAME, GROUP = 3000, 100
"""images, which are repeated; of one row group, the least that a shard can have"""
SHARDS = 48
"""of a timed prediction; each is one file"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=96_000, help="predicted by a network; 0: none")
    parser.add_argument("--memory", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="objects")
    parser.add_argument("--rounds", type=int, default=3, help="of the engines in turn")
    parser.add_argument("--bundle", type=Path, help="a classifier of yours; default: a test network, of 32 pixels")
    parser.add_argument("--data", type=Path, help="with --bundle: images in skythaw's Parquet form")
    parser.add_argument("--one-memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_memory:
        memory(options.bundle, options.folder, options.one_memory)
        return
    print(json.dumps({"machine": platform.processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}))
    overheads()
    with tempfile.TemporaryDirectory(prefix="ray-scaling-") as name:
        folder = Path(name)
        bundle = options.bundle or make_bundle(folder, folder / "cache")
        if not options.data:
            make_survey(folder / "made.parquet", SAME)
        some = pq.read_table(options.data or folder / "made.parquet").slice(0, SAME)
        pq.write_table(some, folder / "some.parquet", row_group_size=GROUP)
        writing(bundle, folder)
        if options.objects:
            workers(bundle, folder)
            speeds(bundle, folder, options.objects, options.rounds)
        for objects in options.memory:
            command = [
                sys.executable,
                __file__,
                "--one-memory",
                str(objects),
                "--folder",
                name,
                "--bundle",
                str(bundle),
            ]
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


WAYS = (
    EngineChoice("serial"),
    EngineChoice("processes", 1),
    EngineChoice("ray", 1),
    EngineChoice("processes", 2),
    EngineChoice("ray", 2),
)


def writing(bundle: Path, folder: Path, rows: int = 10_000, shards: int = 200) -> None:
    """What the driver does with a shard that comes back: write it, sync it, look at it."""
    schema, draw = schema_of(read_about(bundle), "onnx"), np.random.default_rng(0)
    texts = {"object_id": [f"{i:019d}" for i in range(rows)], "label": ["STAR"] * rows, "status": ["ok"] * rows}
    columns = [texts.get(field.name) or pa.array(draw.random(rows), field.type) for field in schema]
    data = as_bytes([pa.table(columns, schema)], schema)
    place = RemoteFile("", "", "", "", "")
    chunks = tuple(Chunk(number, place, 0, rows) for number in range(shards))
    work = surveying.SurveyRun(folder / "written", schema, SurveyChunks(chunks, ""), lambda _done, _all: None)
    work.begin({})
    start = time.perf_counter()
    for chunk in chunks:
        work._keep(chunk, data)
    say(what=f"shards of {rows} rows and {len(data)} bytes written", per_second=shards / (time.perf_counter() - start))


WAYS = (
    EngineChoice("serial"),
    EngineChoice("processes", 1),
    EngineChoice("ray", 1),
    EngineChoice("processes", 2),
    EngineChoice("ray", 2),
)


def speeds(bundle: Path, folder: Path, objects: int, rounds: int) -> None:
    """Images a second, from when every worker has given a shard until the last; medians, and those of each round.

    What a second worker has done of a shard at the first moment counts, and that it idles during the last does: by one
    shard in 46 the rate of two may be wrong.
    """
    rates, wholes = defaultdict(list), defaultdict(list)
    size = objects // SHARDS // GROUP * GROUP
    inputs = linked(folder, size * SHARDS, size)
    for turn in range(rounds):
        for spread in WAYS:
            seen, start = list[tuple[float, int]](), time.perf_counter()
            out = folder / f"{spread.engine}-{spread.workers}-{turn}"
            told = lambda done, _all, s=seen: s.append((time.perf_counter(), done))  # noqa: E731
            predict_survey(bundle, [inputs], out, PredictSettings(device="cpu", shard=size), spread, told)
            (first, begun), (last, done) = seen[spread.workers or 1], seen[-1]
            assert len(seen) == SHARDS + 1
            rates[spread.engine, spread.workers].append((done - begun) / (last - first))
            wholes[spread.engine, spread.workers].append(time.perf_counter() - start)
    for (engine, workers), found in rates.items():
        spent = statistics.median(wholes[engine, workers])
        say(engine=engine, workers=workers, images_per_second=statistics.median(found), seconds=spent, rates=found)


def workers(bundle: Path, folder: Path) -> None:
    """Peak memory of a worker with the network, beside what it reserves."""
    about, rows = read_about(bundle), 2000
    place = linked(folder, rows, 250)
    for backend in ("onnx", "torch"):
        largest, setting = [0], PredictSettings(device="cpu", shard=250, backend=backend)
        told = lambda _done, _all, seen=largest: seen.append(largest_worker())  # noqa: E731
        predict_survey(bundle, [place], folder / f"workers-{backend}", setting, EngineChoice("ray", 2), told)
        say(backend=backend, worker_mb=max(largest) / 1e6, reserved_mb=memory_for(bundle, about, setting) / 1e6)


def largest_worker() -> int:
    """Peak bytes of the largest of Ray's processes that work now."""
    return max((peak(pid) for pid, command in processes().items() if command.startswith("ray::_work")), default=0)


def memory(bundle: Path, folder: Path, objects: int) -> None:
    """Memory of the driver, at its peak (the footers) and at the end, and of the largest worker."""
    surveying.ChunkPredictor = ConstantPredictor
    largest = 0

    def told(_done: int, _all: int) -> None:
        nonlocal largest
        largest = max(largest, largest_worker())

    setting, start = PredictSettings(device="cpu", shard=10_000), time.perf_counter()
    inputs, out = linked(folder, objects, 10_000), folder / f"memory-{objects}"
    summary = predict_survey(bundle, [inputs], out, setting, EngineChoice("ray", 2), told)
    assert summary.objects == objects
    driver = {"peak_mb": peak(os.getpid()) / 1e6, "at_the_end_mb": peak(os.getpid(), "VmRSS") / 1e6}
    say(objects=objects, **driver, worker_mb=largest / 1e6, seconds=time.perf_counter() - start)


def peak(pid: int, what: str = "VmHWM") -> int:
    try:
        return 1024 * int(Path(f"/proc/{pid}/status").read_text().split(f"{what}:")[1].split()[0])
    except (OSError, IndexError):
        return 0


def linked(folder: Path, objects: int, size: int) -> str:
    """A folder of so many objects: one file of `size` rows under many names."""
    place, some = folder / f"objects-{objects}", pq.read_table(folder / "some.parquet")
    place.mkdir()
    many = pa.concat_tables([some] * -(-size // len(some))).slice(0, size)
    pq.write_table(many, folder / f"{objects}.parquet", row_group_size=GROUP)
    for number in range(objects // size):
        (place / f"{number:06d}.parquet").symlink_to(folder / f"{objects}.parquet")
    return str(place)


def say(**facts: object) -> None:
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in facts.items()}
    print(json.dumps({k: [round(x) for x in v] if isinstance(v, list) else v for k, v in rounded.items()}), flush=True)


if __name__ == "__main__":
    main()
