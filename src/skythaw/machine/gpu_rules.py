"""What decides the last bits of a computation on a GPU, and torch leaves to its user: fixed while a block lasts.

* Numbers of 32 bits are multiplied as such. By itself torch rounds them to the 19 bits of TF32 in convolutions.
* cuDNN takes the algorithm that it always takes, and not the one that was fastest in a trial.
* Attention is computed step by step. Its fused forms have a backward pass whose sums come in an order of chance.

From 2.9 on torch has new names for the first (``fp32_precision``) beside the old ones, and refuses to read an old one
where the two disagree. So both are set here, and both are put back.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

EXACT = "highest", False
"""the old names: precision of products of matrices, and whether cuDNN may use TF32"""
USUAL = "highest", True
"""what torch begins with"""


@contextmanager
def gpu_rules() -> Iterator[None]:
    """The same bits each time, of float32 as it is named; everything is put back as it was afterwards."""
    cudnn = torch.backends.cudnn
    old, new, benchmark = _old(), [each.fp32_precision for each in _places()], cudnn.benchmark
    _set(EXACT, ["ieee"] * len(new))
    cudnn.benchmark = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        _set(old, new)
        cudnn.benchmark = benchmark


def _places() -> list[Any]:
    """Where the new names are; nowhere in older versions."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        return []
    return [backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul]


def _old() -> tuple[str, bool]:
    """What the old names say; what torch begins with, where the user has set the new ones."""
    try:
        with _no_warnings():
            return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return USUAL


def _set(old: tuple[str, bool], new: list[str]) -> None:
    with _no_warnings():
        torch.set_float32_matmul_precision(old[0])
        torch.backends.cudnn.allow_tf32 = old[1]
    for place, precision in zip(_places(), new, strict=True):
        place.fp32_precision = precision


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Some versions of torch warn of the old names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
