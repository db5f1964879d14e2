"""Images a second from JPEG files on disk to probabilities: `skythaw predict`, timm with a DataLoader, ONNX with PIL.

python benchmarks/predict.py DATA.parquet BUNDLE... [--images N] [--rounds R]

For each bundle the cutouts of DATA are cut to what it takes and written as JPEG files once. Then the ways take turns;
each starts from a folder of files and ends with an array of probabilities, on all cores, models loaded beforehand. All
must say the same. `network only` is onnxruntime on images that are in memory already, in the way (one session of all
cores, or a thread for each core; 16 to 64 images at once) that a trial beforehand finds fastest. Ratios are medians
over the rounds, each of one round.

A bundle for 64 px is exported from any cell of a study with crop = 64. One for 128 px is made in two minutes by

    cat > large.toml <<END
    name = "large"
    data = { path = "DATA.parquet", crop = 128, split = { by = "field", validation = 0.07, test = 0.2, seed = 0 } }
    grid = { backbone = ["mobilenetv2"], depth = [0], train_size = [300], seed = [0] }
    recipe = { epochs = 2 }
    [weights]
    mobilenetv2 = { file = "W.safetensors", mean = [0.5], std = [0.5], options = { pad_type = "same", bn_eps = 1e-3 } }
    END
    skythaw study run large.toml --out large && skythaw export large large-bundle
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

import skythaw
from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.bundle.backends import Backend, Torch, open_backend
from skythaw.bundle.bundle_file import ONNX
from skythaw.bundle.bundle_weights import named_tensors
from skythaw.bundle.classifier import Classifier
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.machine.numerics import numerics
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.predict_images import PredictSettings, predictions

BATCH = 64
ALONE = "network only"
Way = Callable[[], np.ndarray]
THERE: dict[str, Any] = {}
"""what the other process has loaded"""
CORES = len(os.sched_getaffinity(0))


class Files(Dataset):
    """What people write: open, convert, to a tensor, normalise."""

    def __init__(self, paths: list[Path], mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.paths = paths
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        with Image.open(self.paths[i]) as image:
            x = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
        return (x - self.mean) / self.std


class Plain(nn.Module):
    """The network as timm builds it, with a head."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        about = classifier.about
        self.features = build(backbone_of(about.cell), RANDOM).features
        self.linear = nn.Linear(about.features, len(about.classes))
        own = {name: tensor.clone() for name, tensor in named_tensors(classifier.model).items()}
        self.features.load_state_dict(
            {name.removeprefix("features."): t for name, t in own.items() if name.startswith("features.")}
        )
        self.linear.weight.data, self.linear.bias.data = own["head.linear.weight"], own["head.linear.bias"]
        self.temperature = about.temperature
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.linear(self.features(x).mean((2, 3))) / self.temperature).softmax(1)


def main() -> None:
    """Measure, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for bundle in given.bundles:
        with tempfile.TemporaryDirectory() as folder:
            compare(bundle, given.data, Path(folder), given.images, given.rounds)


def compare(bundle: Path, data: Path, folder: Path, count: int, rounds: int) -> None:
    """All ways in turn, for one bundle."""
    classifier = skythaw.load(bundle, device="cpu")
    pixels = classifier.about.cell.pixels
    paths = write_files(folder, data, pixels.crop, count)
    ways = make_ways(classifier, bundle, folder, paths)
    print(f"{classifier.about.cell.backbone}, {pixels.size} px, {len(paths)} images, {CORES} cores, {rounds} rounds")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    said: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            said[name] = way()
            seconds[name].append(time.perf_counter() - start)
    first = next(iter(ways))
    for name, some in seconds.items():
        rates = sorted(len(paths) / each for each in some)
        apart = "" if name.startswith(ALONE) else f", differs by {np.abs(said[name] - said[first]).max():.1e}"
        print(f"{name}: {statistics.median(rates):.0f} images/s ({rates[0]:.0f} to {rates[-1]:.0f}){apart}")
    for name in list(ways)[1:]:
        ratios = sorted(b / a for a, b in zip(seconds[first], seconds[name], strict=True))
        print(f"{first} is {statistics.median(ratios):.2f} x {name} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def write_files(folder: Path, data: Path, crop: int, count: int) -> list[Path]:
    """JPEG files of the centres of cutouts."""
    paths = []
    for i, (name, content, _) in enumerate(itertools.islice(read_cutouts(data).images(), count)):
        pixels = decode(content, name)
        top, left = ((side - crop) // 2 for side in pixels.shape[:2])
        file = io.BytesIO()
        Image.fromarray(pixels[top : top + crop, left : left + crop]).save(file, "JPEG", quality=90)
        paths.append(folder / f"{i:06d}.jpg")
        paths[-1].write_bytes(file.getvalue())
    return paths


def make_ways(classifier: Classifier, bundle: Path, folder: Path, paths: list[Path]) -> dict[str, Way]:
    """Each way, ready to start; skythaw's own choice first."""
    head = [decode(path.read_bytes(), path.name) for path in paths[:BATCH]]
    chosen = open_backend(bundle, "auto", "cpu", head)
    content = (bundle / ONNX).read_bytes()
    ways: dict[str, Way] = {f"skythaw auto ({chosen.name})": ours(classifier, folder, chosen)}
    ways["skythaw torch"] = ours(classifier, folder, Torch(classifier))
    ways["timm + DataLoader"] = loader(bundle, paths)
    ways["onnxruntime + PIL"] = plain_onnx(content, paths)
    return ways | alone(content, paths)


def ours(classifier: Classifier, folder: Path, backend: Backend) -> Way:
    def way() -> np.ndarray:
        with numerics(1, classifier.about.seed, "cpu"):
            tables = list(predictions(backend, find_inputs([folder]).items(), PredictSettings(threads=CORES)))
        return np.concatenate(
            [np.stack([table[f"p_{name}"].to_numpy() for name in classifier.classes], 1) for table in tables]
        )

    return way


def loader(bundle: Path, paths: list[Path]) -> Way:
    """In a process of its own, where memory is as torch finds it: skythaw sets the allocator of this one."""
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    pool.submit(load_plain, bundle, paths).result()
    return lambda: pool.submit(run_plain).result()


def load_plain(bundle: Path, paths: list[Path]) -> None:
    classifier = skythaw.load(bundle, device="cpu")
    expected = classifier.about.expected
    torch.set_num_threads(CORES)
    THERE["network"], THERE["files"] = Plain(classifier), Files(paths, expected.mean, expected.std)


def run_plain() -> np.ndarray:
    files = DataLoader(THERE["files"], BATCH, num_workers=CORES, multiprocessing_context="fork")
    with torch.inference_mode():
        return np.concatenate([THERE["network"](x).numpy() for x in files])


def plain_onnx(content: bytes, paths: list[Path]) -> Way:
    session = open_onnx(content, CORES)

    def way() -> np.ndarray:
        parts = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
        return np.concatenate([session.run(None, {"image": read(some)})[0] for some in parts])

    return way


def read(some: list[Path]) -> np.ndarray:
    images = [np.array(Image.open(path).convert("RGB")) for path in some]
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255


def alone(content: bytes, paths: list[Path]) -> dict[str, Way]:
    """The network on images in memory, in the fastest of some ways, by its name."""
    some = read(paths[:BATCH])
    sessions = {1: open_onnx(content, 1), CORES: open_onnx(content, CORES)}

    def way(threads: int, at_once: int, count: int) -> np.ndarray:
        session, x = sessions[threads], some[:at_once]
        with ThreadPoolExecutor(CORES // threads) as pool:
            return list(pool.map(lambda _: session.run(None, {"image": x})[0], range(-(-count // at_once))))[-1]

    seconds: dict[tuple[int, int], float] = {}
    for _ in range(3):
        for setting in itertools.product(sessions, (16, 32, 64)):
            start = time.perf_counter()
            way(*setting, 1024)
            seconds[setting] = min(seconds.get(setting, float("inf")), time.perf_counter() - start)
    threads, at_once = min(seconds, key=seconds.__getitem__)
    name = f"{ALONE} ({CORES // threads} x {threads} threads, {at_once} images at once)"
    return {name: lambda: way(threads, at_once, len(paths))}


def open_onnx(content: bytes, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
