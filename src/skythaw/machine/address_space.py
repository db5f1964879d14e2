"""Where ``ulimit -v`` limits the addresses of a process: take few of them, and refuse to begin with too few.

A library that is loaded while addresses run out may wait for ever (OpenBLAS asks again and again), end the process, or
crash, all before Python can raise an error. Figures: docs/log.md.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

from skythaw.errors import SpecError
from skythaw.machine.processor import cores

BASE = 520
"""megabytes of addresses that NumPy, SciPy and Arrow take where they are loaded, with some to spare"""
EACH = 90
"""megabytes that they take for each thread of OpenBLAS: buffers and stacks"""
THREADS = "OPENBLAS_NUM_THREADS"
"""the name under which OpenBLAS is told how many it may start; else one for each processor"""
M_ARENA_MAX = -8
"""of <malloc.h>"""


def prepare_address_space() -> None:
    """Take few addresses, where they are limited; call it before NumPy and Arrow are loaded.

    glibc and Arrow otherwise reserve up to 1 GB more than they use, and OpenBLAS more for each thread: it gets as many
    threads as there is room for.

    Raises
    ------
    SpecError
        The limit is lower than what the libraries need to be loaded.
    """
    limit = _limit()
    if limit is None:
        return
    room = ((limit >> 20) - BASE) // EACH
    if room < 1:
        raise SpecError(
            f"a process may use {limit >> 20} MB of addresses here (ulimit -v), and skythaw's libraries need "
            f"{BASE + EACH} MB to be loaded; raise the limit, or take it away with `ulimit -v unlimited`"
        )
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if room < _threads():
        os.environ[THREADS] = str(room)
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _limit() -> int | None:
    """Bytes of addresses that this process may use; None where any number."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _threads() -> int:
    """How many threads OpenBLAS will start: as it reads its settings."""
    for name in (THREADS, "OMP_NUM_THREADS"):
        if (text := os.environ.get(name, "")).isdecimal() and int(text):
            return min(int(text), cores())
    return cores()
