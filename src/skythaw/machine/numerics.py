"""Everything that decides the last bits of a computation, fixed for as long as a block lasts."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import torch
from torch.utils import deterministic

from skythaw.errors import SpecError
from skythaw.machine.allocator import keep_freed_memory
from skythaw.machine.device import find_device
from skythaw.machine.gpu_rules import gpu_rules
from skythaw.machine.machine_fault import memory_is_full

WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""what cuBLAS asks for if its sums are to be the same each time; it reads it when it is first used"""


@contextmanager
def numerics(threads: int, seed: int, device: str) -> Iterator[torch.device]:
    """The device, with everything fixed that decides a cell's last bits; put back as it was afterwards.

    Threads (sums are split among them), deterministic algorithms, the seed of torch's own generator (which dropout
    draws from), and denormal numbers: flushed to 0 with one thread, for they are slow and mean nothing here. With more,
    each thread of torch's pool would keep the mode it was born with, and the result depend on what ran before. On a GPU
    there is more: `skythaw.machine.gpu_rules`.

    With deterministic algorithms torch also fills every new tensor with NaN, to show reads of memory never written.
    That costs a tenth of the time, and is turned off.

    Raises
    ------
    SpecError
        There is no such device, or its memory is full.
    """
    keep_freed_memory()
    os.environ.setdefault(*WORKSPACE)
    where = find_device(device)
    before = torch.get_num_threads()
    strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling = _fill_new_tensors(False)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_flush_denormal(threads == 1)
    try:
        with ExitStack() as rules:
            rules.enter_context(torch.random.fork_rng(devices=[where] if where.type == "cuda" else []))
            if where.type == "cuda":
                rules.enter_context(gpu_rules())
            torch.manual_seed(seed)
            yield where
    except Exception as error:
        if memory_is_full(error):
            traceback.clear_frames(error.__traceback__)  # else they hold what filled it
            raise SpecError(_full(where)) from error
        raise
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])
        _fill_new_tensors(filling)
        torch.set_flush_denormal(False)


def _fill_new_tensors(on: bool) -> bool:
    before: bool = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    deterministic.fill_uninitialized_memory = on  # type: ignore[attr-defined]
    return before


def _full(device: torch.device) -> str:
    """One line for a device whose memory is full; what is free again is given back for the next work."""
    name, used = "this machine" if device.type == "cpu" else str(device), ""
    if device.type == "cuda":
        with suppress(RuntimeError):  # so full that it can't even tell
            free, total = torch.cuda.mem_get_info(device)
            used = f" ({(total - free) / 1e9:.1f} of {total / 1e9:.1f} GB are in use, by all processes together)"
        torch.cuda.empty_cache()
    return f"the memory of {name} is full{used}: take a smaller batch or smaller images, or fewer workers"
