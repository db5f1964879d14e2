"""What a cell does on a GPU, as far as a CPU can tell: full memory, exact arithmetic, its device."""

from __future__ import annotations

import weakref
from contextlib import nullcontext

import pytest
import torch

from skythaw.errors import SpecError
from skythaw.machine.machine_fault import memory_is_full
from skythaw.machine.numerics import numerics

FULL = {
    "torch's own": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "the driver": RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
    "AMD's driver": RuntimeError("HIP error: out of memory"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "Metal": RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
}


class Large:
    """A tensor of a cell."""


@pytest.fixture
def gpu(monkeypatch):
    """The device is called a GPU; what is told to torch's cache of its memory."""
    emptied = []
    monkeypatch.setattr("skythaw.machine.numerics.find_device", torch.device)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1e9, 4e9))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    return emptied


@pytest.mark.parametrize("error", FULL.values(), ids=FULL)
def test_full_memory_of_a_gpu_is_one_line_whoever_says_so(error, gpu):
    with pytest.raises(SpecError) as full, numerics(1, 0, "cuda"):
        raise error
    line = "the memory of cuda is full (3.0 of 4.0 GB are in use, by all processes together): take a smaller batch"
    assert str(full.value).startswith(line)
    assert gpu == [True]


@pytest.mark.parametrize(
    "text", ["CUDA error: an illegal memory access was encountered", "CUBLAS_STATUS_EXECUTION_FAILED"]
)
def test_other_errors_of_a_gpu_are_not_of_its_memory(text):
    assert not memory_is_full(RuntimeError(text))


def test_full_memory_is_given_back_when_nothing_holds_it_any_more(gpu, monkeypatch):
    alive, made = [], []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(made[0]() is not None))

    def forward():
        activation = Large()
        made.append(weakref.ref(activation))
        raise FULL["torch's own"]

    with pytest.raises(SpecError), numerics(1, 0, "cuda"):
        forward()
    assert alive == [False]


def test_a_gpu_so_full_that_it_cannot_tell_is_one_line_too(gpu, monkeypatch):
    def unable(device):
        raise FULL["the driver"]

    monkeypatch.setattr(torch.cuda, "mem_get_info", unable)
    with pytest.raises(SpecError) as full, numerics(1, 0, "cuda"):
        raise FULL["cuBLAS"]
    assert str(full.value).startswith("the memory of cuda is full: take a smaller batch")
