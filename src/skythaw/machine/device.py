"""Which device a name stands for: the CPU, or a GPU. torch is imported only where it is asked."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skythaw.errors import SpecError
from skythaw.machine.machine_fault import memory_is_full

if TYPE_CHECKING:
    import torch

DEVICES = "use cpu, cuda (a GPU), or auto"


def device_kind(name: str) -> str:
    """The type of `device_here`: ``cpu``, ``cuda`` or ``mps``. Where there can be no GPU, this is known without torch.

    Raises
    ------
    SpecError
        There is no such device on this machine.
    """
    if name == "cpu" or (name == "auto" and _no_driver()):
        return "cpu"
    return device_here(name).type


def device_model(name: str) -> str:
    """What decides last bits of a device beside the processor: its kind, and of ``cuda`` the model of the GPU.

    Raises
    ------
    SpecError
        There is no such device on this machine.
    """
    if (kind := device_kind(name)) != "cuda":
        return kind
    import torch

    return f"cuda, {torch.cuda.get_device_name(device_here(name))}"


def _no_driver() -> bool:
    """Whether Linux has no driver for a GPU: neither NVIDIA's, which is a library, nor AMD's, which is a device."""
    if sys.platform != "linux" or Path("/dev/kfd").exists():
        return False
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False


def device_here(name: str) -> torch.device:
    """The device of a name; ``auto`` is a GPU if there is one. It is not opened, which would take memory there.

    Raises
    ------
    SpecError
        There is no such device on this machine.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = parse_device(name)
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type != "cpu" and (device.index or 0) >= there[device.type]:
        raise SpecError(f"there is no device {name!r} here; {DEVICES}")
    return device


def find_device(name: str) -> torch.device:
    """The device of a name, opened: see `device_here`.

    Raises
    ------
    SpecError
        There is no such device on this machine, or it is busy or full.
    """
    import torch

    device = device_here(name)
    try:
        torch.empty(1, device=device)
    except RuntimeError as error:
        raise SpecError(_why_not(device, error)) from None
    return device


def _why_not(device: torch.device, error: RuntimeError) -> str:
    """Why a device that is there can't be opened, in one line."""
    if memory_is_full(error):
        return f"the memory of {device} is full: other processes use it; wait for them, or use the CPU"
    reason = str(error).strip().partition("\n")[0]
    if "busy" in reason:
        return f"{device} is busy: another process keeps it for itself; wait for it, or use the CPU"
    return f"{device} can't be used: {reason}"


def give_back_memory() -> None:
    """Give what this process no longer uses of a GPU's memory back to all; nothing where it has used no GPU."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def parse_device(name: str) -> torch.device:
    """The device of a name, which need not be on this machine.

    Raises
    ------
    SpecError
        Nothing is called so, or skythaw does not use it.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "meta":  # shapes without numbers
        raise SpecError(f"there is no device {name!r}; {DEVICES}")
    if device.type not in ("cpu", "cuda", "mps"):  # xpu ...
        raise SpecError(f"skythaw does not compute on {name!r}; {DEVICES}")
    return device
