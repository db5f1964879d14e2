"""What a cell needs to know of, and fix about, the machine it runs on."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.utils import deterministic

from skythaw.errors import SpecError
from skythaw.study.allocator import keep_freed_memory, trim
from skythaw.tuning.feed import Images
from skythaw.tuning.model import Classifier

DEVICES = "use cpu, cuda (a GPU), or auto"


def find_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is a GPU if there is one.

    Raises
    ------
    SpecError
        There is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = parse_device(name)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise SpecError(f"there is no device {name!r} here; {DEVICES}") from None
    return device


def parse_device(name: str) -> torch.device:
    """The device of a name, which need not be on this machine.

    Raises
    ------
    SpecError
        Nothing is called so.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "meta":  # shapes without numbers
        raise SpecError(f"there is no device {name!r}; {DEVICES}")
    return device


@contextmanager
def numerics(threads: int, seed: int, device: str) -> Iterator[torch.device]:
    """The device, with everything fixed that decides a cell's last bits; put back as it was afterwards.

    Threads (sums are split among them), deterministic algorithms, the seed of torch's own generator (which dropout
    draws from), and denormal numbers: flushed to 0 with one thread, for they are slow and mean nothing here. With more,
    each thread of torch's pool would keep the mode it was born with, and the result depend on what ran before.

    With deterministic algorithms torch also fills every new tensor with NaN, to show reads of memory never written.
    That costs a tenth of the time, and is turned off.
    """
    keep_freed_memory()
    where = find_device(device)
    before = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling = _fill_new_tensors(False)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_flush_denormal(threads == 1)
    try:
        with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
            torch.manual_seed(seed)
            yield where
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])
        _fill_new_tensors(filling)
        torch.set_flush_denormal(False)


def _fill_new_tensors(on: bool) -> bool:
    before: bool = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    deterministic.fill_uninitialized_memory = on  # type: ignore[attr-defined]
    return before


class Stopwatch:
    """Seconds of the phases of a cell."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def seconds(self) -> dict[str, float]:
        return {**self._laps, "total": time.perf_counter() - self._started}


def reset_peak_memory() -> None:
    """Start a new measurement of `peak_memory` (Linux; elsewhere the peak is that of the whole process)."""
    gc.collect()
    trim()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int:
    """Resident memory at its largest, bytes, since `reset_peak_memory`."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def latency(model: Classifier, images: Images, repeats: int = 15) -> float:
    """Milliseconds from one image's input tensor to its logits: the median of some repeats after two warm-ups."""
    x = images.batch(np.zeros(1, dtype=np.int64))
    times = []
    with model.evaluating():
        for _ in range(repeats + 2):
            start = time.perf_counter()
            model(x)
            if x.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return 1000 * median(times[2:])


def versions() -> dict[str, str]:
    """Of what decides a cell's numbers."""
    return {name: version(name) for name in ("skythaw", "torch", "timm", "numpy", "pillow")}
