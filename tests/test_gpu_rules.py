"""What a cell does on a GPU, as far as a CPU can tell: full memory, exact arithmetic, its device."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from contextlib import nullcontext

import pytest
import torch

from skythaw.errors import SpecError
from skythaw.machine.device import device_kind, device_model, find_device
from skythaw.machine.gpu_rules import gpu_rules
from skythaw.machine.machine_fault import memory_is_full
from skythaw.machine.numerics import numerics
from skythaw.study.on_cluster import Cluster
from skythaw.study.open_study import RunSettings

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


BUSY = RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with `TORCH_USE_CUDA_DSA`")


@pytest.fixture
def one_gpu(monkeypatch):
    """As far as torch says, there is one GPU; whoever opens it gets an error."""
    monkeypatch.setattr("skythaw.machine.device._no_driver", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def opened_as(error):
        def empty(*_, **__):
            raise error

        monkeypatch.setattr(torch, "empty", empty)

    opened_as(AssertionError("it was opened"))
    return opened_as


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_to_know_its_kind_a_gpu_is_not_opened(name, one_gpu, tmp_path):
    assert RunSettings(tmp_path, tmp_path, device=name).device_kind == "cuda"


@pytest.mark.parametrize("name", ["cuda:1", "cuda:7"])
def test_a_gpu_that_is_not_there_is_absent(name, one_gpu):
    with pytest.raises(SpecError, match=f"there is no device '{name}' here; use cpu, cuda"):
        find_device(name)


@pytest.mark.parametrize("there", [False, True])
def test_mps_is_taken_where_it_is(there, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    if there:
        assert device_model("mps") == "mps"
        assert device_kind("mps") == "mps"
    else:
        with pytest.raises(SpecError, match="there is no device 'mps' here; use cpu, cuda"):
            find_device("mps")


@pytest.mark.parametrize("name", ["xpu", "hpu:0"])
@pytest.mark.parametrize("address", [None, "127.0.0.1:6379"], ids=["here", "on a cluster"])
def test_what_is_not_offered_is_refused_before_anything_runs(name, address, tmp_path):
    settings = RunSettings(tmp_path, tmp_path, device=name, cluster=Cluster(address))
    with pytest.raises(SpecError, match=f"^skythaw does not compute on '{name}'; use cpu, cuda"):
        _ = settings.device_kind


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_gpu_that_is_there_is_called_full_or_busy_or_what_its_driver_says(name, one_gpu):
    errors = {
        "full": FULL["torch's own"],
        "busy": BUSY,
        "can't be used": RuntimeError("CUDA error: unknown error\nmore"),
    }
    said = {}
    for word, error in errors.items():
        one_gpu(error)
        with pytest.raises(SpecError) as refused:
            find_device(name)
        said[word] = str(refused.value)
    assert said == {
        "full": "the memory of cuda is full: other processes use it; wait for them, or use the CPU",
        "busy": "cuda is busy: another process keeps it for itself; wait for it, or use the CPU",
        "can't be used": "cuda can't be used: CUDA error: unknown error",
    }


def arithmetic():
    """All that `gpu_rules` fixes; of what can't be read, that."""
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    asked = [
        *(torch.get_float32_matmul_precision, lambda: cudnn.allow_tf32, lambda: cuda.matmul.allow_tf32),
        *(lambda: cudnn.benchmark, cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.cudnn_sdp_enabled),
        cuda.math_sdp_enabled,
    ]
    if hasattr(cudnn, "conv"):
        asked += [lambda: torch.backends.fp32_precision, lambda: cudnn.fp32_precision]
        asked += [lambda: cudnn.conv.fp32_precision, lambda: cudnn.rnn.fp32_precision]
        asked += [lambda: cuda.matmul.fp32_precision, lambda: torch.backends.mkldnn.matmul.fp32_precision]
    return [read(each) for each in asked]


def read(setting):
    try:
        return setting()
    except RuntimeError as error:
        return str(error)


def old_names():
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True


def new_names():
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cuda.enable_flash_sdp(False)


def new_name_of_all():
    torch.backends.fp32_precision = "tf32"


def nothing():
    pass


@pytest.mark.parametrize("choose", [nothing, old_names, new_names, new_name_of_all])
def test_on_a_gpu_arithmetic_is_exact_and_then_as_it_was(choose):
    """In a process of its own: torch can't be brought back from what some of these do."""
    command = [sys.executable, "-W", "error", "-c", f"import test_gpu_rules as t; t.check(t.{choose.__name__})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def check(choose):
    choose()
    before = arithmetic()
    with gpu_rules():
        inside = arithmetic()
    assert inside[:8] == ["highest", False, False, False, False, False, False, True], inside
    assert {"ieee"} == set(inside[10:]) or not inside[8:], inside
    assert arithmetic() == before, (before, arithmetic())


def test_they_hold_in_a_cell_on_a_gpu_alone(gpu):
    before = arithmetic()
    with numerics(1, 0, "cuda"):
        assert arithmetic() != before
    with numerics(1, 0, "cpu"):
        assert arithmetic() == before


def test_kept_activations_are_of_one_model_of_gpu_and_those_of_a_cpu_are_found_where_they_were(one_gpu, monkeypatch):
    hopper, blackwell = [], []
    for found, model in ((hopper, "H"), (blackwell, "B")):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, model=model: model)
        found.extend(device_model(name) for name in ("auto", "cuda", "cuda:0"))
    assert hopper == ["cuda, H"] * 3
    assert blackwell == ["cuda, B"] * 3
    assert device_model("cpu") == "cpu"
