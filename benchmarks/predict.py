"""Images a second from JPEG files on disk to probabilities: `skythaw predict`, timm with a DataLoader, ONNX with PIL.

python benchmarks/predict.py BUNDLE DATA.parquet [--images N] [--rounds R]

The cutouts of DATA are cut to what the bundle takes and written as JPEG files once. Then the ways take turns; each
starts from a folder of files and ends with an array of probabilities, on all cores, models loaded beforehand. All must
say the same. `network only` is ONNX runtime on images that are in memory already: as `onnxruntime + PIL` calls it (all
cores for one batch of 64), or as skythaw does (a thread a core, 16 images at once), whichever is faster.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

import skythaw
from skythaw.backbones.catalogue import backbone_of
from skythaw.backbones.network import build
from skythaw.backbones.weights import RANDOM
from skythaw.data.cutouts import read_cutouts
from skythaw.data.images import decode
from skythaw.serving.backends import SLICE, open_backend
from skythaw.serving.bundle import ONNX
from skythaw.serving.classifier import Classifier, named_tensors
from skythaw.serving.inputs import find_inputs
from skythaw.serving.predict import Setting, predictions
from skythaw.serving.session import open_session
from skythaw.study.machine import numerics

BATCH = 64
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
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        classifier = skythaw.load(given.bundle, device="cpu")
        paths = write_files(Path(folder), given.data, classifier.about.cell.pixels.crop, given.images)
        ways, alone = make_ways(classifier, given.bundle, Path(folder), paths)
        names = (*ways, "network only, all cores a batch", "network only, a core a batch")
        seconds: dict[str, list[float]] = {name: [] for name in names}
        said: dict[str, np.ndarray] = {}
        for _ in range(given.rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                said[name] = way()
                seconds[name].append(time.perf_counter() - start)
            for name, way in zip(names[-2:], alone, strict=True):
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(said.values()))
    for name, some in seconds.items():
        rates = sorted(len(paths) / each for each in some)
        apart = f", differs by {np.abs(said[name] - first).max():.1e}" if name in said else ""
        print(f"{name}: {statistics.median(rates):.0f} images/s ({rates[0]:.0f} to {rates[-1]:.0f}){apart}")
    base = statistics.median(seconds["skythaw"])
    for name in list(seconds)[1:]:
        print(f"skythaw is {statistics.median(seconds[name]) / base:.2f} x {name}")


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


def make_ways(
    classifier: Classifier, bundle: Path, folder: Path, paths: list[Path]
) -> tuple[dict[str, Callable[[], np.ndarray]], tuple[Callable[[], object], Callable[[], object]]]:
    """Each way, ready to start, and the network alone."""
    import onnxruntime

    expected = classifier.about.expected
    plain = Plain(classifier)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession((bundle / ONNX).read_bytes(), options, providers=["CPUExecutionProvider"])

    backends = {name: open_backend(name, classifier, bundle) for name in ("onnx", "torch")}

    def ours(backend: str) -> np.ndarray:
        setting = Setting(threads=CORES)
        with numerics(1, classifier.about.seed, "cpu"):
            tables = list(predictions(classifier, find_inputs([folder]).items(), setting, backends[backend]))
        return np.concatenate(
            [np.stack([table[f"p_{name}"].to_numpy() for name in classifier.classes], 1) for table in tables]
        )

    def loader() -> np.ndarray:
        torch.set_num_threads(CORES)
        files = DataLoader(Files(paths, expected.mean, expected.std), BATCH, num_workers=CORES)
        with torch.inference_mode():
            return np.concatenate([plain(batch).numpy() for batch in files])

    def read(some: list[Path]) -> np.ndarray:
        images = [np.array(Image.open(path).convert("RGB")) for path in some]
        return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255

    def onnx() -> np.ndarray:
        parts = [paths[i : i + BATCH] for i in range(0, len(paths), BATCH)]
        return np.concatenate([session.run(None, {"image": read(some)})[0] for some in parts])

    some = read(paths[:BATCH])

    def alone() -> None:
        for _ in range(0, len(paths), BATCH):
            session.run(None, {"image": some})

    single = open_session((bundle / ONNX).read_bytes(), classifier.about)

    def apart() -> None:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(lambda _: single.run(None, {"image": some[:SLICE]}), range(0, len(paths), SLICE)))

    ways = {"skythaw": lambda: ours("onnx"), "skythaw, torch": lambda: ours("torch")}
    return {**ways, "timm + DataLoader": loader, "onnxruntime + PIL": onnx}, (alone, apart)


if __name__ == "__main__":
    main()
