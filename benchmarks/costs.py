"""How the cost of a study grows: with images, with depths, with the network; and how much memory it takes.

    python benchmarks/costs.py images   DATA.parquet WEIGHTS     # 1,000 to 16,000 training images, two depths
    python benchmarks/costs.py depths   DATA.parquet WEIGHTS     # 2 to 19 depths of 1,500 images
    python benchmarks/costs.py networks DATA.parquet             # every network of the catalogue, random weights
    python benchmarks/costs.py memory   DATA.parquet WEIGHTS     # peak memory of all processes, 1,000 and all objects

DATA is skythaw's Parquet form, WEIGHTS those of MobileNetV2. Each study is a process of its own, with nothing kept
from an earlier one: 64 px, 2 epochs, two workers. Seconds are from the start of the command to its end; the exponent is
the slope of log seconds against log of what grows, after what an almost empty study takes has been taken off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from skythaw import registry
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network_facts import block_flops
from skythaw.data.cutouts import read_cutouts
from skythaw.data.split import nested_order

STUDY = """
name = "costs"
[data]
path = "{data}"
crop = 64
size = {size}
split = {{ by = "field", validation = 0.03, test = 0.04, seed = 0 }}
[grid]
backbone = ["{network}"]
depth = {depths}
train_size = [{images}]
[recipe]
epochs = 2
lr = 1e-3
[weights]
{network} = {weights}
"""
MOBILE = '{{ file = "{}", mean = [0.5], std = [0.5], options = {{ pad_type = "same", bn_eps = 1e-3 }} }}'
KEEP_NOTHING = ("--cache-size", "0")


class Given(NamedTuple):
    """Data, and weights as a study file says it."""

    data: Path
    weights: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path, nargs="?")
    args = parser.parse_args()
    weights = MOBILE.format(args.weights.resolve()) if args.weights else '"random"'
    WHAT[args.what](Given(args.data.resolve(), weights))


def images(given: Given) -> None:
    """Cost against training images."""
    empty = study(given, 12, [0])[0]
    print(f"an almost empty study: {empty:.1f} s")
    for depth in (0, 5):
        seconds = []
        counts = (1000, 2000, 4000, 8000, 16000)
        for count in counts:
            seconds.append(study(given, count, [depth])[0] - empty)
            print(f"depth {depth}, {count} images: {seconds[-1]:.1f} s", flush=True)
        exponent(counts, seconds)


def depths(given: Given) -> None:
    """Cost against depths, with activations kept and without, in turn."""
    empty = study(given, 12, [0])[0]
    counts, ways = (2, 4, 8, 19), {"kept": (), "nothing kept": KEEP_NOTHING}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for count in counts:
        some = np.unique(np.linspace(0, 19, count).round().astype(int)).tolist()
        for way, options in ways.items():
            seconds[way].append(study(given, 1500, some, options=options)[0] - empty)
        print(f"{count} depths: " + ", ".join(f"{way} {each[-1]:.1f} s" for way, each in seconds.items()), flush=True)
    for way, each in seconds.items():
        print(way, end=": ")
        exponent(counts, each)


def networks(given: Given) -> None:
    """Cost against the FLOPs of the network: full depth, 96 pixels, 300 images, weights random."""
    flops, seconds = [], []
    with tempfile.TemporaryDirectory() as cache:
        for name in registry.names("backbone"):
            flops.append(sum(block_flops(backbone(name), 96, Path(cache))))
            took = study(Given(given.data, '"random"'), 300, ["100%"], network=name, size=96)
            seconds.append(took[1])
            print(f"{name}: {flops[-1] / 1e9:.2f} GFLOP an image, training {seconds[-1]:.1f} s", flush=True)
    exponent(flops, seconds)


def memory(given: Given) -> None:
    """Peak resident memory of all processes of a study together, for few objects and for all of them."""
    cutouts = read_cutouts(given.data)
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.parquet"
        few = np.sort(nested_order(cutouts.labels, seed=0)[:1000])
        import pyarrow.parquet as pq

        pq.write_table(pq.read_table(given.data).take(few), small)
        for name, path, count in (("1,000 objects", small, 800), (f"{len(cutouts):,} objects", given.data, 16000)):
            peaks[name] = study(Given(path, given.weights), count, [0, 5, 19])[2]
            print(f"{name}: {peaks[name] / 1e6:.0f} MB at most, all processes together", flush=True)
    few_peak, all_peak = peaks.values()
    print(f"grows by {100 * (all_peak / few_peak - 1):.0f} %")


def study(
    given: Given,
    count: int,
    some: Sequence[int | str],
    *,
    network: str = "mobilenetv2",
    size: int = 64,
    options: Sequence[str] = (),
) -> tuple[float, float, int]:
    """Run a study from nothing; its seconds, those of training alone, and the peak memory of its processes, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        text = STUDY.format(
            data=given.data, weights=given.weights, size=size, network=network, depths=json.dumps(some), images=count
        )
        (here / "study.toml").write_text(text)
        skythaw = [sys.executable, "-m", "skythaw", "--cache", here / "cache"]
        command = [*skythaw, "study", "run", here / "study.toml", "--out", here / "run", "--workers", "2", *options]
        start = time.perf_counter()
        with subprocess.Popen(
            [str(each) for each in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            peak = watch(process)
        seconds = time.perf_counter() - start
        assert process.returncode == 0, text
        return seconds, training_seconds(here / "run"), peak


def training_seconds(run: Path) -> float:
    from skythaw.study.ledger import Ledger

    with Ledger.read(run) as ledger:
        return sum(entry.result.seconds["train"] for entry in ledger.entries() if entry.result)


def watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; the largest sum of resident memory of it and its children, looked at ten times a second."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(resident(pid) for pid in family(process.pid)))
        time.sleep(0.1)
    return peak


def family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def resident(pid: int) -> int:
    """Resident bytes, each page shared by processes counted in part (PSS)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def exponent(what: Sequence[float], seconds: Sequence[float]) -> None:
    slope, _ = np.polyfit(np.log(what), np.log(seconds), 1)
    print(f"seconds grow as the power {slope:.2f}")


WHAT: dict[str, Callable[[Given], None]] = {
    "images": images,
    "depths": depths,
    "networks": networks,
    "memory": memory,
}

if __name__ == "__main__":
    main()
