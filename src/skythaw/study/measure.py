"""What a result says beside its scores: the latency of the network, and the versions of what made the numbers."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import torch

from skythaw.machine.package_version import version_of
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.thawed_network import ThawedNetwork


def latency(model: ThawedNetwork, images: LabelledImages, repeats: int = 15) -> float:
    """Milliseconds from one image's input tensor to its logits: the median of some repeats after two warm-ups."""
    x = images.batch(np.zeros(1, dtype=np.int64))
    times = []
    with model.evaluating():
        for _ in range(repeats + 2):
            start = time.perf_counter()
            model(x)
            if x.device.type != "cpu":
                torch.accelerator.synchronize()
            times.append(time.perf_counter() - start)
    return 1000 * median(times[2:])


def versions() -> dict[str, str]:
    """Of what decides a cell's numbers."""
    return {name: version_of(name) for name in ("skythaw", "torch", "timm", "numpy", "pillow")}
