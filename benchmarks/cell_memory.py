"""How much memory cells take, beside what the plan expects.

    python benchmarks/cell_memory.py DATA.parquet                          # the seed study's networks, random weights
    python benchmarks/cell_memory.py DATA.parquet --networks resnet50 --sizes 224

DATA is skythaw's Parquet form, of which 1,000 objects are taken. Each network at each size is a study of its own, of
three depths, 128 images and one epoch, in one worker. ``VmHWM`` of that worker is measured, from the start of each cell
on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from skythaw.data.cutouts import read_cutouts
from skythaw.data.split import nested_order
from skythaw.study.ledger import Ledger

NETWORKS = ["resnet50", "densenet121", "vgg16", "xception", "efficientnet_b2", "mobilenetv2", "nasnet_mobile"]
STUDY = """
name = "memory"
[data]
path = "{data}"
crop = 64
size = {size}
split = {{ by = "field", validation = 0.1, test = 0.1, seed = 0 }}
[grid]
backbone = ["{network}"]
depth = ["0%", "30%", "100%"]
train_size = [128]
[recipe]
epochs = 1
lr = 1e-3
batch = {batch}
batchnorm = "{batchnorm}"
[weights]
{network} = "random"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 160])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batchnorm", default="running")
    args = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        some = np.sort(nested_order(read_cutouts(args.data).labels, seed=0)[:1000])
        pq.write_table(pq.read_table(args.data).take(some), Path(folder) / "data.parquet")
        for network in args.networks:
            for size in args.sizes:
                for depth, expected, measured in cells(args, network, size, Path(folder)):
                    ratio = measured / expected
                    ratios.append(ratio)
                    cell = f"{network}, {size} px, depth {depth}"
                    print(f"{cell}: {measured / 1e6:.0f} MB, expected {expected / 1e6:.0f} ({ratio:.2f})", flush=True)
    print(f"measured / expected: {min(ratios):.2f} to {max(ratios):.2f}")


def cells(args: argparse.Namespace, network: str, size: int, folder: Path) -> list[tuple[int, int, int]]:
    """Depth, expected bytes and measured bytes of each cell of a study."""
    wanted = vars(args) | {"network": network, "size": size, "data": folder / "data.parquet"}
    file, run = folder / f"{network}-{size}.toml", folder / f"{network}-{size}"
    file.write_text(STUDY.format(**wanted))
    skythaw = [sys.executable, "-m", "skythaw", "--cache", str(folder / "cache"), "study"]
    plan = subprocess.run([*skythaw, "plan", str(file), "--json"], capture_output=True, check=True)
    command = [*skythaw, "run", str(file), "--out", str(run), "--workers", "1"]
    subprocess.run(command, capture_output=True, check=True)
    with Ledger.read(run) as ledger:
        peaks = {entry.key: entry.result.peak_memory for entry in ledger.entries() if entry.result}
    return [(cell["depth"], cell["memory"], peaks[cell["key"]]) for cell in json.loads(plan.stdout)["cells"]]


if __name__ == "__main__":
    main()
