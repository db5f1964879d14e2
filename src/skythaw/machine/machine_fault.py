"""What an error says of this machine: that its memory is full, its disk, or that a file can't be used."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from skythaw.errors import SkythawError
from skythaw.machine.files import NO_ROOM

MEMORY = (
    *("Cannot allocate memory", "can't allocate memory", "not enough memory", "bad_alloc"),
    *("can't start new thread", "Failed to launch worker thread"),
    *("error: out of memory", "backend out of memory", "_STATUS_ALLOC_FAILED"),
)
"""words of torch, of C++ and of Arrow, of the system where a library can't be loaded, and of the libraries of GPUs"""

ROOM = 64 << 20
"""bytes that a machine has left whose memory is not full"""
UNMAPPED = "failed to map segment from shared object"
"""how an error of a library that can't be loaded ends, where memory is the reason"""


def memory_is_full(error: BaseException | None) -> bool:
    """Whether memory was lacking: Python, NumPy, Arrow, torch and the system each say so in their own way.

    >>> memory_is_full(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    """
    if isinstance(error, MemoryError):  # Python's, NumPy's and Arrow's
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM or "out of memory" in str(error)  # Pillow's has no number
    if type(error).__name__ == "OutOfMemoryError":  # torch's own, for GPUs; their libraries say it in words
        return True
    if error is None or isinstance(error, SkythawError):
        return False
    return any(words in str(error) for words in MEMORY) or str(error).endswith(UNMAPPED)


def raise_if_memory_is_short(error: BaseException) -> None:
    """Raise the error again where this machine has no memory left, and not where a damaged file asks for too much.

    What is read is no worse for the first: it must not be called damaged, or be left out.
    """
    if not memory_is_full(error):
        return
    with suppress(MemoryError):
        bytearray(ROOM)
        return
    raise error


def machine_fault(error: Exception) -> str | None:
    """What is wrong, in one line, where an error is the machine's and not a bug; None for any other.

    >>> machine_fault(FileNotFoundError(2, "No such file or directory", "cutouts.parquet"))
    'cutouts.parquet: No such file or directory'
    """
    if memory_is_full(error):
        return (
            "the memory of this machine is full: take smaller images or files, or fewer workers; "
            "the same command goes on from what is kept"
        )
    if not isinstance(error, OSError) or not error.strerror:
        return None
    if error.filename is not None:  # too long a name, a folder that vanished, ...
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return f"the output can't be written: {error.strerror}" if error.errno in NO_ROOM else None
