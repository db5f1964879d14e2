"""Which device a name stands for: the CPU, or a GPU."""

from __future__ import annotations

import torch

from skythaw.errors import SpecError

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
