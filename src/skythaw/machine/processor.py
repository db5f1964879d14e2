"""The processor of this machine: its model, and how many cores this process may use. Imports no torch."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor() -> str:
    """The model of the processor, as far as the system tells: its last bits are its own."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
