"""Time and memory that a piece of work takes."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path

from skythaw.machine.allocator import trim


class Stopwatch:
    """Seconds of the phases of a cell."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self._processor = time.process_time()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def seconds(self) -> dict[str, float]:
        """Of each phase, all of them (``total``), and those in which cores worked, added up (``processor``)."""
        processor = time.process_time() - self._processor
        return {**self._laps, "total": time.perf_counter() - self._started, "processor": processor}


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
