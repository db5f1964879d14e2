"""Standard work S1, contestants in turn: seconds from files on disk to scored models, and macro-F1 beside them.

    python benchmarks/s1/compare.py FOLDER WEIGHTS [--size 64] [--rounds 1] [--only NAME ...]

FOLDER is what prepare.py made, WEIGHTS the file of the network's weights. Each contestant is a process of its own, with
nothing kept from an earlier one; contestants take turns, round by round. Prints the median of the rounds, their range,
the ratio to skythaw's sweep, and macro-F1 on the test images by depth. Keras and fastai take part where --keras and
--fastai name the python of the environment they are installed in.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
SHARES = ("0%", "25%", "50%", "75%", "100%")
SEVEN = ("0%", "17%", "33%", "50%", "67%", "83%", "100%")
OPTIONS = {
    "mobilenetv2": '{ file = "FILE", mean = [0.5], std = [0.5], options = { pad_type = "same", bn_eps = 1e-3 } }',
    "efficientnet_lite0": '"FILE"',
}
CONTESTANTS = (
    "skythaw sweep",
    "skythaw sweep, nothing kept",
    "skythaw full fine-tuning alone",
    "skythaw search of seven depths",
    "skythaw sweep of seven depths",
    "skythaw sweep, three seeds, three sizes",
    "plain loop",
    "plain loop of seven depths",
    "plain loop, channels-last, no loader processes",
    "plain loop, channels-last, mixed precision",
    "Keras",
    "fastai",
)
MANY = "\ntrain_size = [375, 750, 1500]\nseed = [0, 1, 2]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--network", choices=OPTIONS, default="mobilenetv2")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME")
    parser.add_argument("--train-size", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=10, help="of skythaw and the plain loops")
    parser.add_argument("--device", default="cpu", help="of skythaw and the plain loops")
    parser.add_argument("--loaders", type=int, default=2, help="processes that load images for the plain loops")
    parser.add_argument("--keras", type=Path, metavar="PYTHON")
    parser.add_argument("--fastai", type=Path, metavar="PYTHON")
    args = parser.parse_args()
    import torch

    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {args.size} px")
    seconds, scores = defaultdict(list), {}
    absent = {name for name, python in (("Keras", args.keras), ("fastai", args.fastai)) if python is None}
    names = args.only or [name for name in CONTESTANTS if name not in absent]
    for number in range(args.rounds):
        for name in names:
            start = time.perf_counter()
            found = contest(name, args)
            seconds[name].append(time.perf_counter() - start)
            scores[name] = found
            print(f"round {number + 1}: {name}: {seconds[name][-1]:.1f} s {found}", flush=True)
    own = median(seconds.get("skythaw sweep", [float("nan")]))
    for name in names:
        several = seconds[name]
        print(
            f"{name:48} {median(several):7.1f} s ({min(several):.1f} to {max(several):.1f}), "
            f"{median(several) / own:.2f} x; macro-F1 " + " ".join(f"{each:.3f}" for each in scores[name].values())
        )


def contest(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Run one contestant; macro-F1 by depth."""
    with tempfile.TemporaryDirectory() as folder:
        if name.startswith("skythaw"):
            return _skythaw(name, args, Path(folder))
        return _loop(name, args, Path(folder))


def _loop(name: str, args: argparse.Namespace, folder: Path) -> dict[str, float]:
    script, python = {
        "Keras": ("keras_seed.py", args.keras),
        "fastai": ("fastai_loop.py", args.fastai),
    }.get(name, ("plain_timm.py", sys.executable))
    options = ["--size", args.size, "--json", folder / "scores.json"]
    if script == "plain_timm.py":
        options += ["--train-size", args.train_size, "--epochs", args.epochs]
        options += ["--device", args.device, "--workers", 0 if "no loader" in name else args.loaders]
    if script != "keras_seed.py":  # which knows MobileNetV2 alone
        options += ["--network", args.network]
    if "channels-last" in name:
        options += ["--channels-last"]
    if "mixed" in name:
        options += ["--amp"]
    if "seven" in name:
        options += ["--depths", *(float(depth[:-1]) / 100 for depth in SEVEN)]
    _run([python, HERE / script, args.folder, args.weights, *options])
    rows = json.loads((folder / "scores.json").read_text())
    return {f"{row['depth']:.0%}": row["macro_f1"] for row in rows}


def _skythaw(name: str, args: argparse.Namespace, folder: Path) -> dict[str, float]:
    depths = SEVEN if "seven" in name else ("100%",) if "alone" in name else SHARES
    study = (HERE / "s1.toml").read_text().replace("SIZE", str(args.size)).replace("DEPTHS", json.dumps(depths))
    weights = OPTIONS[args.network].replace("FILE", str(args.weights.resolve()))
    study = study.replace("\ntrain_size = [1500]", MANY if "three" in name else f"\ntrain_size = [{args.train_size}]")
    study = study.replace("= WEIGHTS", f"= {weights}").replace("NETWORK", args.network)
    threads = "\nthreads = 2" if "alone" in name else ""  # one cell has both cores
    precision = "" if args.device == "cpu" else '\nprecision = "mixed"'
    study = study.replace("epochs = 10", f"epochs = {args.epochs}{threads}{precision}")
    (folder / "s1.toml").write_text(study)
    skythaw = [sys.executable, "-m", "skythaw", "--cache", folder / "cache"]
    for part in ("pool", "test"):
        table = args.folder / f"{part}.csv"
        _run([*skythaw, "data", "import", args.folder / part, folder / f"{part}.parquet", "--labels", table])
    kept = ["--cache-size", "0"] if "nothing kept" in name else []
    what = "search" if "search" in name else "run"
    _run([*skythaw, "study", what, folder / "s1.toml", "--out", folder / "run", "--device", args.device, *kept])
    _run([*skythaw, "report", folder / "run", "--json", folder / "report.json"])
    rows = json.loads((folder / "report.json").read_text())["rows"]
    return {
        f"{row['depth']} of {row['blocks']}": row["macro_f1"]["mean"]
        for row in rows
        if row["train_size"] == args.train_size
    }


def _run(program: list[object]) -> None:
    subprocess.run([str(each) for each in program], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
