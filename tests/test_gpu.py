"""What holds on a CPU holds on a GPU. `benchmarks/gpu.sh` runs these; SKYTHAW_TEST_DEVICE=cpu tries the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import skythaw
from helpers_bundle import make_bundle
from helpers_study import make_survey, write_study
from skythaw.errors import SpecError
from skythaw.machine.numerics import numerics
from skythaw.predict.predict_images import PredictSettings, predict_to
from skythaw.spec import Recipe, Study
from skythaw.stats.cell_predictions import read_log_probabilities
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings, Watcher
from skythaw.study.run_study import run_study
from skythaw.tuning.labelled_images import holding
from skythaw.tuning.training_loop import fit
from test_training import images, model

pytestmark = pytest.mark.gpu
NEAR = 0.02
"""How far a probability of a trained network may be from the CPU's: sums are rounded in another order at every step."""


@pytest.fixture(scope="module")
def device() -> str:
    """The device that is tried: the one that SKYTHAW_TEST_DEVICE names, or the GPU."""
    if named := os.environ.get("SKYTHAW_TEST_DEVICE"):
        return named
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return "cuda"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("gpu")
    make_survey(made / "survey.parquet")
    write_study(made, replace={"seed = [0, 1]": "seed = [0]"})
    return made


@pytest.fixture(scope="module", autouse=True)
def small_networks_are_worth_keeping():
    """A GPU computes these in less time than it takes to read what is kept, which the tests are to do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skythaw.tuning.frozen.reuse_plan.FLOPS", {"cpu": 6e10, "cuda": 6e10})
        yield


def run(folder, out, cache, device, *, engine="serial", workers=1, cache_size=10**10, watcher=None):
    settings = RunSettings(folder / out, cache, engine, workers, device, cache_size=cache_size, control=False)
    return run_study(Study.load(folder / "study.toml"), settings, *([watcher] if watcher else []))


def entries(out):
    with Ledger.read(out) as ledger:
        return [entry for entry in ledger.entries() if entry.result]


def said(out):
    """What every cell says of its test objects, by depth and seed."""
    found = {}
    for entry in entries(out):
        log_p = read_log_probabilities(out, entry.key, "test", entry.result.classes)
        found[entry.cell.depth, entry.cell.seed] = log_p
    return found


def same(one, other):
    return one.keys() == other.keys() and all((one[each] == other[each]).all() for each in one)


@pytest.fixture(scope="module")
def finished(folder, cache, device) -> Path:
    assert run(folder, "run", cache, device).done == 3
    return folder / "run"


def test_the_result_names_the_device(finished, device):
    assert {entry.result.device.split(":")[0] for entry in entries(finished)} == {device.split(":")[0]}


KIND = """
import sys, torch
from skythaw.machine.device import device_kind, device_model
kind = device_kind(sys.argv[1])
assert device_model(sys.argv[1]).startswith(kind)
assert kind == sys.argv[1].partition(":")[0]
assert not torch.cuda.is_available() or not torch._C._cuda_hasPrimaryContext(0)
"""


def test_to_know_its_kind_a_gpu_is_not_opened(device):
    subprocess.run([sys.executable, "-c", KIND, device], check=True)


def test_a_study_repeats_bit_by_bit(folder, finished, cache, device):
    run(folder, "again", cache, device)
    assert same(said(finished), said(folder / "again"))


def test_a_transformer_repeats_bit_by_bit(tmp_path, cache, device):
    """By itself its attention would take a backward pass whose sums come in an order of chance."""
    make_survey(tmp_path / "survey.parquet")
    vit = {"timm:test_efficientnet": "timm:test_vit", "seed = [0, 1]": "seed = [0]", "epochs = 7": "epochs = 3"}
    write_study(tmp_path, replace=vit)
    for out in ("one", "other"):
        assert run(tmp_path, out, cache, device).done == 3
    assert same(said(tmp_path / "one"), said(tmp_path / "other"))


def test_kept_activations_are_those_that_are_computed(folder, finished, cache, tmp_path, device):
    assert any((cache / "activations").iterdir())
    run(folder, "computed", tmp_path, device, cache_size=0)
    assert same(said(finished), said(folder / "computed"))


@pytest.mark.parametrize("room", [0, 2000, 10**6], ids=["copied", "some held", "held"])
def test_input_is_that_of_the_cpu(device, room):
    """The same but for the last bits of a division."""
    here = images(counts=(20, 20, 20))
    there = holding(replace(here, device=torch.device(device)), room)
    rng = np.random.default_rng(0)
    for _ in range(3):
        chosen, views, shifts = rng.integers(0, 60, 32), rng.integers(0, 8, 32), rng.integers(-1, 2, (32, 2))
        for some in (None, shifts):
            made = there.batch(chosen, views, some)
            assert made.device.type == torch.device(device).type
            assert torch.allclose(made.cpu(), here.batch(chosen, views, some), rtol=0, atol=1e-6)


def on_device(device, **recipe):
    """A small classifier of two blocks, the upper one trained on the device; what was frozen before, and the fit."""
    made = model(depth=1).to(device)
    made.tune(made.thaw.blocks)
    before = {name: tensor.clone() for name, tensor in made.network.state_dict().items()}
    there = [replace(images(seed=seed), device=torch.device(device)) for seed in (0, 1)]
    result = fit(made, *there, Recipe(epochs=6, batch=6, lr=3e-2, ema=None, **recipe), 0)
    trained = made.trained()
    frozen = {name: tensor for name, tensor in before.items() if f"network.{name}" not in trained}
    return made, frozen, result


def test_what_is_frozen_stays_bit_by_bit(device):
    made, frozen, _ = on_device(device)
    now = made.network.state_dict()
    assert 0 < len(frozen) < len(now)
    assert all(torch.equal(now[name], tensor) for name, tensor in frozen.items())


def test_scores_are_those_of_the_cpu(folder, finished, cache):
    run(folder, "on_cpu", cache, "cpu")
    there, here = said(finished), said(folder / "on_cpu")
    for each, log_p in there.items():
        assert np.abs(np.exp(log_p) - np.exp(here[each])).mean() < NEAR, each


def test_two_cells_share_a_device(folder, finished, cache, device):
    summary = run(folder, "two", cache, device, engine="processes", workers=2)
    assert (summary.done, summary.failed) == (3, 0)
    assert same(said(finished), said(folder / "two"))


class Stops(Watcher):
    """Stops a study when its first cell is done."""

    def finished(self, planned, error):
        raise KeyboardInterrupt


def test_a_stopped_study_goes_on_to_the_same_end(folder, finished, cache, device):
    with pytest.raises(KeyboardInterrupt):
        run(folder, "stopped", cache, device, watcher=Stops())
    assert len(entries(folder / "stopped")) == 1
    run(folder, "stopped", cache, device)
    assert same(said(finished), said(folder / "stopped"))


def test_a_bundle_says_there_what_it_says_on_the_cpu(tmp_path, cache, device):
    bundle = make_bundle(tmp_path, cache)
    tables = []
    for where in (device, "cpu"):
        out = tmp_path / f"{where.replace(':', '')}.parquet"
        predict_to(bundle, [bundle.parent / "survey.parquet"], out, PredictSettings(device=where, backend="torch"))
        tables.append(pq.read_table(out))
    names = [name for name in tables[0].column_names if name.startswith("p_")]
    there, here = (np.stack([table[name].to_numpy() for name in names]) for table in tables)
    assert np.abs(there - here).max() < NEAR
    stacked = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    assert skythaw.load(bundle, device=device).predict_proba(stacked).shape == (4, len(names))


def fill_memory(device):
    """On a GPU by asking for more than there is; elsewhere the error is raised."""
    with numerics(1, 0, device) as where:
        if where.type != "cuda":
            raise torch.OutOfMemoryError("out of memory, in many words")
        torch.empty(1 << 44, dtype=torch.uint8, device=where)


def test_a_full_memory_is_one_line_and_there_is_room_again(device):
    with pytest.raises(SpecError, match=r"memory of .* is full.*: take a smaller batch") as full:
        fill_memory(device)
    assert "\n" not in str(full.value)
    with numerics(1, 0, device) as where:
        assert torch.ones(3, device=where).sum() == 3


def test_mixed_precision_learns_as_well(device):
    """It is for GPUs; on another device it is single precision."""
    _, _, result = on_device(device, precision="mixed")
    assert result.score > 0.9
