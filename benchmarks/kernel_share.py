"""The share of a training's time in which a GPU computes: of its steps alone, in this process.

Kernels are timed by torch's profiler. That slows the steps down, so their time is that of steps without it. Copies to
and from the GPU are no kernels. `gpu.py` prints the share; on a CPU it is that of torch's operations, and only tried.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.machine.numerics import numerics
from skythaw.study.cell_sets import load_sets, with_activations
from skythaw.study.plan import Plan, PlannedCell, sets_of
from skythaw.tuning.frozen.activation_files import VIEWS
from skythaw.tuning.frozen.fill_cache import fill
from skythaw.tuning.frozen.fill_task import Fill
from skythaw.tuning.locations import Locations
from skythaw.tuning.thawed_network import assemble
from skythaw.tuning.trainer import Trainer

COPIES = ("Memcpy", "Memset")


def kernel_share(plan: Plan, planned: PlannedCell, cache: Path, device: str, steps: int) -> float:
    """Of the steps of a cell's training, with its frozen activations kept; as many steps come before, to warm up."""
    trainer = ready(plan, planned, cache, device)
    with numerics(1, planned.cell.seed, device):
        run(trainer, steps)
        begun = time.perf_counter()
        run(trainer, steps)
        seconds = time.perf_counter() - begun
        gpu = trainer.images.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as seen:
            run(trainer, steps)
    trainer.settle()
    assert not trainer.diverged
    return busy(seen, gpu) / seconds


def ready(plan: Plan, planned: PlannedCell, cache: Path, device: str) -> Trainer:
    """The training of a cell before its first step; below its cut, all that it may ask for is kept."""
    cell, data = planned.cell, plan.study.data
    locations = Locations(data.path, data.test_path, planned.weights, cache, Path(), device)
    if planned.prefix:
        rows = sets_of(plan.study_data).drawn(cell)
        views = np.repeat(np.arange(VIEWS), len(rows))
        fill(Fill(cell, locations, (planned.cut,), "train", views, np.tile(rows, VIEWS)))
    with numerics(1, cell.seed, device) as where:
        sets = load_sets(cell, locations, where, ("train",))
        model = assemble(build(backbone_of(cell), locations.weights), cell, len(sets.classes))
        model = model.to(where).to(memory_format=torch.channels_last)
        training = with_activations(sets, cell, locations, model.cut_depth).images["train"]
        assert (training.kept is not None) == bool(planned.prefix)
        return Trainer(model, training, cell.recipe, cell.seed, lambda step: 1.0)


def run(trainer: Trainer, steps: int) -> None:
    """Some steps, to their end on the device."""
    for _ in range(steps):
        trainer.step((1, 1))
    if trainer.images.device.type == "cuda":
        torch.cuda.synchronize()


def busy(seen: profile, gpu: bool) -> float:
    """Seconds in kernels; on a CPU in operations."""
    if not gpu:
        return sum(event.self_cpu_time_total for event in seen.key_averages()) / 1e6
    kernels = [each for each in seen.key_averages() if each.device_type == DeviceType.CUDA]
    return sum(each.self_device_time_total for each in kernels if not each.key.startswith(COPIES)) / 1e6
