"""Where the time of S1 goes, and how far that is from the floor.

    python benchmarks/profile_s1.py FOLDER WEIGHTS [--size 64] [--epochs 10]

FOLDER is what s1/prepare.py made. The whole study runs in this process, one cell after the other with one thread; the
functions named below are timed, what one calls counted once. The floor is the FLOPs of what is trained (forward, and
twice that backward) and scored, at the rate of a large matrix product on the same thread.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from skythaw.spec import Study
from skythaw.study import run_cell
from skythaw.study import run_study as running
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study
from skythaw.tuning import labelled_images, thawed_network, training_loop, weight_average
from skythaw.tuning.frozen import activation_files

HERE = Path(__file__).parent / "s1"
MOBILE = '{ file = "FILE", mean = [0.5], std = [0.5], options = { pad_type = "same", bn_eps = 1e-3 } }'
SPENT: dict[str, float] = defaultdict(float)
STACK: list[list[Any]] = []
SCORING = "scoring: reading and forward"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, timm, sklearn.metrics"], check=True)
    SPENT["start of one process"] = time.perf_counter() - start
    for owner, name, what in (
        (running, "open_store", "decoding"),
        (running, "fill", "pass through the frozen part, and keeping"),
        (activation_files.Activations, "read", "reading what is kept"),
        (labelled_images.Images, "batch", "pixels: crop, view, normalise"),
        (thawed_network.Classifier, "frozen_values", "frozen part again, where not kept"),
        (thawed_network.Classifier, "from_values", "forward of the trained part"),
        (torch.Tensor, "backward", "backward of the trained part"),
        (torch.optim.AdamW, "step", "optimizer"),
        (torch.nn.utils, "clip_grad_norm_", "clipping the gradient"),
        (weight_average.Average, "update", "average of the weights"),
        (training_loop, "predict", SCORING),
        (run_cell, "predict", SCORING),
        (run_cell, "assemble", "making the model"),
        (run_cell, "load_sets", "opening the data"),
        (run_cell, "solve_probe", "exact linear probe"),
        (run_cell, "latency", "measuring latency"),
        (run_cell, "save_weights", "writing results"),
        (run_cell, "save_predictions", "writing results"),
    ):
        setattr(owner, name, timed(getattr(owner, name), what))
    with tempfile.TemporaryDirectory() as folder:
        seconds, flops = study(args, Path(folder))
    SPENT["everything else"] = seconds - sum(SPENT.values()) + SPENT["start of one process"]
    for what, spent in sorted(SPENT.items(), key=lambda item: -item[1]):
        print(f"{what:45} {spent:7.1f} s {100 * spent / seconds:5.1f} %")
    rate = matrix_rate()
    print(
        f"together {seconds:.1f} s; {flops / 1e9:.0f} GFLOP at {rate / 1e9:.0f} GFLOP a second are {flops / rate:.1f} s"
    )
    print(f"the floor is {100 * flops / rate / seconds:.0f} % of the time")


def study(args: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """Run S1 in this process; its seconds and the FLOPs it can't do without."""
    depths = json.dumps(["0%", "25%", "50%", "75%", "100%"])
    text = (HERE / "s1.toml").read_text().replace("SIZE", str(args.size)).replace("DEPTHS", depths)
    text = text.replace("= WEIGHTS", "= " + MOBILE.replace("FILE", str(args.weights.resolve())))
    text = text.replace("NETWORK", "mobilenetv2").replace("epochs = 10", f"epochs = {args.epochs}")
    (folder / "s1.toml").write_text(text)
    skythaw = [sys.executable, "-m", "skythaw", "--cache", folder / "cache"]
    for part in ("pool", "test"):
        table = args.folder / f"{part}.csv"
        command = [*skythaw, "data", "import", args.folder / part, folder / f"{part}.parquet", "--labels", table]
        subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)
    plans = []

    class Watching(running.Watcher):
        def started(self, plan: Any, done: set[str]) -> None:
            plans.append(plan)

    start = time.perf_counter()
    run_study(
        Study.load(folder / "s1.toml"), RunSettings(folder / "run", folder / "cache", "serial", 1, "cpu"), Watching()
    )
    seconds = time.perf_counter() - start
    suffixes = [(p.cell.train_size * args.epochs * 3, sum(p.flops) - p.prefix) for p in plans[0].cells]
    scored = sum(plans[0].objects[part] for part in ("validation", "test"))
    needed = sum(count * flops for count, flops in suffixes) + scored * sum(flops for _, flops in suffixes)
    return seconds, needed


def timed(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    """The function, its seconds added to `SPENT`; those of timed functions it calls go to theirs alone."""

    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        name = SCORING if STACK and STACK[-1][0] == SCORING else what
        STACK.append([name, 0.0])
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            took = time.perf_counter() - start
            SPENT[name] += took - STACK.pop()[1]
            if STACK:
                STACK[-1][1] += took

    return wrapper


def matrix_rate() -> float:
    """FLOPs a second of a product of two matrices of 1024 x 1024 on one thread, the best of ten."""
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(times)


if __name__ == "__main__":
    main()
