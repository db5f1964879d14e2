"""Keep freed memory in the process instead of handing it back to the system (Linux with glibc; elsewhere nothing).

glibc gives blocks above a threshold straight back to the kernel when they are freed, and every new one is faulted in
again, page by page. A training step allocates and frees the same few big tensors over and over, and pays this price at
each step. Figures: docs/log.md.
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
"""Of <malloc.h>."""
KEEP = 1 << 30
"""bytes: blocks smaller than this come from the heap, and so much free heap is kept"""
PAD = 64 << 20
"""bytes the heap grows by at least"""


def trim() -> None:
    """Hand back what is free now, so that a new measurement of memory starts from what is in use."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def share_arenas(most: int = 2) -> None:
    """Let all threads take memory from a few heaps: else each of many threads keeps what it once needed for itself."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, most)


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for the whole process; once is enough, again does no harm.

    Returns
    -------
    bool
        whether it was done
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((M_MMAP_THRESHOLD, KEEP), (M_TRIM_THRESHOLD, KEEP), (M_TOP_PAD, PAD))
    done = [libc.mallopt(name, value) for name, value in settings]
    return done == [1, 1, 1]
