"""A sweep, a prediction and the share of training in kernels, on a GPU, against the loop that people write.

    python benchmarks/gpu.py [--device cuda] [--tiny]

Images are drawn, weights are random: only times are of interest, and macro-F1 is shown to see that the work was done.
For each size of image, five depths are trained by `skythaw study run` and by a loop of timm with a DataLoader,
channels-last and mixed precision, in turn (s1/compare.py), from JPEG files to scored models. `gpu.sh` runs this too.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow as pa
import timm
import torch
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).parent / "s1"))
import compare
import prepare
from kernel_share import kernel_share
from PIL import Image

from skythaw.bundle.export.export_bundle import export
from skythaw.data.cutouts import write_cutouts
from skythaw.machine.processor import cores
from skythaw.predict.predict_images import PredictSettings, predict_to
from skythaw.spec import Study
from skythaw.study.open_study import RunSettings
from skythaw.study.plan import make_plan
from skythaw.study.run_study import run_study

LOOP = "plain loop, channels-last, mixed precision"
CLASSES = ("GALAXY", "QSO", "STAR")
COLUMNS = [("run", pa.int32()), ("camcol", pa.int8()), ("field", pa.int32())]
SAME_FIELD = 12
"""objects of one field"""


@dataclass(frozen=True)
class Work:
    """A size of image in pixels, and how much of it."""

    size: int
    images: int
    epochs: int
    steps: int = 200
    """of training, in which kernels are timed"""


WHOLE = (Work(64, 4000, 10), Work(128, 16_000, 4), Work(224, 4000, 4))
PROFILED = 1024
"""training images of the trainings that are looked into"""
TINY = (Work(32, 60, 1, 4),)
"""to try this script where there is no GPU"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="very few images, to try the script")
    given = parser.parse_args()
    name = torch.cuda.get_device_name() if given.device.startswith("cuda") else given.device
    print(f"{name}, {cores()} cores, torch {torch.__version__}, MobileNetV2, five depths\n")
    print(
        "| px | images | epochs | skythaw | plain loop | faster by | macro-F1 of both | predicted "
        "| steps in kernels, half depth | full depth |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for work in TINY if given.tiny else WHOLE:
        with tempfile.TemporaryDirectory() as folder:
            print(row(work, given.device, Path(folder)), flush=True)


def row(work: Work, device: str, folder: Path) -> str:
    """A line of the table."""
    data = folder / "pool.parquet", folder / "test.parquet"
    draw_survey(data[0], round(1.4 * work.images), work.size, 0)
    draw_survey(data[1], max(60, work.images // 4), work.size, 1)
    files = folder / "files"
    objects = str(round(1.4 * work.images))
    with redirect_stdout(io.StringIO()):
        prepare.main([*map(str, (*data, files)), "--objects", objects, "--train", str(work.images)])
    weights = folder / "weights.safetensors"
    save_file(timm.create_model("mobilenetv2_100", pad_type="same", bn_eps=1e-3).state_dict(), weights)
    args = Namespace(
        folder=files, weights=weights, size=work.size, network="mobilenetv2", train_size=work.images,
        epochs=work.epochs, device=device, loaders=cores(), keras=None, fastai=None,
    )  # fmt: skip
    seconds, scores = zip(*(timed(name, args) for name in ("skythaw sweep", LOOP)), strict=True)
    rate, shares = alone(work, device, weights, data, folder)
    cells = [
        *(work.size, f"{work.images:,}", work.epochs, *(f"{each:.1f} s" for each in seconds)),
        *(f"{seconds[1] / seconds[0]:.1f} x", ", ".join(f"{each:.3f}" for each in scores)),
        *(f"{rate:,.0f} images/s", *(f"{each:.0%}" for each in shares)),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def timed(contestant: str, args: Namespace) -> tuple[float, float]:
    """Seconds of a contestant, and its macro-F1, the mean over depths."""
    start = time.perf_counter()
    found = compare.contest(contestant, args)
    return time.perf_counter() - start, fmean(found.values())


def alone(work: Work, device: str, weights: Path, data: tuple[Path, Path], folder: Path) -> tuple[float, list[float]]:
    """In this process: images predicted a second, and the share of kernels in training at half and at full depth."""
    study = Study.parse(
        {
            "name": "alone",
            "data": {"path": str(data[0]), "test_path": str(data[1]), "crop": work.size, "split": {"by": "field"}},
            "grid": {
                "backbone": ["mobilenetv2"],
                "depth": ["50%", "100%"],
                "train_size": [min(work.images, PROFILED)],
                "seed": [0],
            },
            "recipe": {"epochs": 1, "lr": 1e-3, "precision": "mixed"},
            "weights": {"mobilenetv2": {"file": str(weights), "options": {"pad_type": "same", "bn_eps": 1e-3}}},
        }
    )
    cache = folder / "cache"
    run_study(study, RunSettings(folder / "run", cache, "serial", 1, device, control=False))
    plan = make_plan(study, cache, download=True)
    cells = sorted(plan.cells, key=lambda planned: planned.cell.depth)
    shares = [kernel_share(plan, planned, cache, device, work.steps) for planned in cells]
    export(folder / "run", folder / "bundle", onnx=False, references=0)
    setting = PredictSettings(device=device, backend="torch", batch=256)
    begun = time.perf_counter()
    summary = predict_to(folder / "bundle", [data[0]], folder / "said.parquet", setting)
    return summary.objects / (time.perf_counter() - begun), shares


def draw_survey(out: Path, objects: int, size: int, seed: int) -> None:
    """Spots on a noisy sky, wide or narrow, red or blue, as JPEG."""
    with ProcessPoolExecutor() as pool:
        images = pool.map(partial(draw, size, seed), range(objects), chunksize=64)
        rows = [
            {
                "object_id": f"{seed}{i:07d}", "label": CLASSES[i % 3], "image": image, "run": 752 + seed,
                "camcol": 1 + i // SAME_FIELD % 5, "field": i // SAME_FIELD,
            }
            for i, image in enumerate(images)
        ]  # fmt: skip
    write_cutouts(out, rows, COLUMNS, {"source": "drawn", "seed": seed})


def draw(size: int, seed: int, i: int) -> bytes:
    """One of them."""
    rng = np.random.default_rng((seed, i))
    width, colour = ((5, (1, 0.8, 0.5)), (1.5, (0.5, 0.6, 1)), (1.5, (1, 0.6, 0.4)))[i % 3]
    y, x = np.mgrid[:size, :size] - (size - 1) / 2 - rng.normal(0, 1, (2, 1, 1))
    spot = rng.uniform(60, 200) * np.exp(-(x**2 + y**2) / (2 * width**2))
    pixels = spot[..., None] * np.array(colour) + rng.normal(15, 8, (size, size, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


if __name__ == "__main__":
    main()
