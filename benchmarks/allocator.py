"""What keeping freed memory in the process (skythaw.machine.allocator) brings, both ways in turn.

    python benchmarks/allocator.py [--backbone efficientnet_lite0] [--rounds 3]

Prints milliseconds an image, forward and training, one thread, batch 64, at 64 and 128 px: the median over rounds and
their range. Each measurement is a process of its own, because the setting can't be taken back.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

BATCH = 64
STEPS = 4


def measure(name: str, size: int, keep: bool) -> dict[str, float]:
    """Milliseconds an image of a forward pass and of a training step of the whole network, random weights."""
    import torch

    from skythaw.backbones.known_backbones import backbone
    from skythaw.backbones.network import build
    from skythaw.backbones.pretrained_weights import RANDOM
    from skythaw.machine.allocator import keep_freed_memory
    from skythaw.tuning.thaw import Thaw
    from skythaw.tuning.thawed_network import Head, ThawedNetwork

    if keep:
        keep_freed_memory()
    torch.set_num_threads(1)
    network = build(backbone(name), RANDOM)
    head = Head(network.channels, 3, 0.0, torch.Generator().manual_seed(0))
    model = ThawedNetwork(network, Thaw.at_once(range(len(network.blocks))), head, "running").to(
        memory_format=torch.channels_last
    )
    x = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model(x).square().mean().backward()

    def forward() -> None:
        with model.evaluating():
            model(x)

    return {"forward": _time(forward), "training": _time(step)}


def _time(action: Callable[[], None]) -> float:
    action()
    start = time.perf_counter()
    for _ in range(STEPS):
        action()
    return 1000 * (time.perf_counter() - start) / STEPS / BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("SIZE", "KEEP"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        size, keep = options.one
        print(json.dumps(measure(options.backbone, int(size), keep == "yes")))
        return
    print(f"{platform.machine()}, {platform.libc_ver()}, one thread, batch {BATCH}, {options.backbone}")
    for size in (64, 128):
        found: dict[str, list[dict[str, float]]] = {"no": [], "yes": []}
        for _ in range(options.rounds):
            for keep, some in found.items():
                command = [sys.executable, __file__, "--backbone", options.backbone, "--one", str(size), keep]
                some.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        for what in ("forward", "training"):
            ways = {keep: [each[what] for each in some] for keep, some in found.items()}
            ratio = median(ways["no"]) / median(ways["yes"])
            told = "; ".join(
                f"{'kept' if keep == 'yes' else 'default'} {median(v):.2f} ({min(v):.2f} to {max(v):.2f})"
                for keep, v in ways.items()
            )
            print(f"{size} px {what}: {told} ms an image; {ratio:.2f} x")


if __name__ == "__main__":
    main()
