"""What a cut holds in memory, and what a plan says that a cell needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers_bundle import make_bundle
from helpers_networks import SMALL, fresh, images
from helpers_soak import soak
from helpers_study import write_study
from skythaw.backbones.known_backbones import backbone, backbone_of
from skythaw.backbones.network_facts import cuts, facts
from skythaw.bundle.bundle_file import read_about
from skythaw.engines.engine import open_engine
from skythaw.predict.predict_images import PredictSettings
from skythaw.predict.survey.survey_worker import memory_for
from skythaw.spec import Study
from skythaw.study import memory_need
from skythaw.study.cell_task import CellTask
from skythaw.study.ledger import Ledger
from skythaw.study.memory_need import memory_of
from skythaw.study.on_cluster import Cluster, away
from skythaw.study.open_study import RunSettings
from skythaw.study.plan import make_plan
from skythaw.study.rate_trials import given_rate
from skythaw.study.run_study import run_study
from skythaw.tuning.frozen import crossing
from skythaw.tuning.frozen.fill_cache import Fill
from skythaw.tuning.locations import Locations
from skythaw.tuning.thaw import Thaw
from skythaw.tuning.thawed_network import Head, ThawedNetwork

REAL = [*SMALL, "efficientnet_lite0", "densenet121", "timm:edgenext_xx_small"]


def held(model, batch):
    """Bytes that a training step of the suffix really holds for its backward pass, parameters apart."""
    values, found = model.frozen_values(images(64, batch)), {}

    def pack(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = model.suffix(*values)
    return sum(found.values()), result  # which keeps them at their places


@pytest.mark.parametrize("name", soak(REAL, ["timm:test_resnet", "timm:test_efficientnet"]))
def test_what_a_cut_holds_is_what_training_above_it_holds(name, cache):
    found = cuts(backbone(name), 64, cache)
    count = len(found) - 1
    for depth in sorted({0, 1, count // 2, count - 1, count}):
        network = fresh(name)
        thaw = Thaw.at_once(range(count - depth, count))
        model = ThawedNetwork(network, thaw, Head(network.channels, 3, 0.0, torch.Generator()), "running")
        (two, _a), (three, _b) = held(model, 2), held(model, 3)
        assert three - two == found[depth].held, depth
        assert found[depth].widest <= found[depth].held
    assert found[0].held == 0 < found[1].held < found[count].held


@pytest.fixture
def planned(here, cache):
    return make_plan(Study.load(here / "study.toml"), cache, download=True).cells


def test_more_is_needed_for_more(planned, cache):
    cell, deep = planned[0].cell, Thaw.at_once(range(7))
    network, found = facts(backbone(cell.backbone), cache), cuts(backbone(cell.backbone), 128, cache)

    def needed(thaw=deep, scored=36, depth=7, **recipe):
        changed = cell.model_copy(update={"depth": depth, "recipe": cell.recipe.model_copy(update=recipe)})
        return memory_of(changed, network, thaw, found, scored)

    more = 1.1 * 32 * (found[-1].held + 2 * found[-1].widest)
    assert needed(batch=64) - needed(batch=32) == pytest.approx(more, abs=1)
    assert needed(batchnorm="train") > needed() > needed(Thaw.at_once([6])) > needed(Thaw.at_once([]), depth=3)
    assert needed(depth=0, scored=1000) - needed(depth=0, scored=0) == pytest.approx(13.2e3 * network.channels, abs=1)


@pytest.mark.soak
def test_what_the_plan_expects_is_what_a_cell_takes(here, cache, tmp_path):
    """Where the maps of a batch are most of it. A forked worker touches less of the libraries than is reckoned with."""
    changes = {'["0%", "50%", "100%"]': '["0%", "100%"]', "seed = [0, 1]": "seed = [0]", "epochs = 7": "epochs = 1"}
    changes |= {"crop = 32": "crop = 32\nsize = 256", "batch = 16": "batch = 75"}
    study = Study.load(write_study(here, replace=changes))
    expected = {p.cell.key: (p.cell.depth, p.memory) for p in make_plan(study, cache, download=True).cells}
    run_study(study, RunSettings(tmp_path / "run", cache, "processes", 1, "cpu", control=False))
    with Ledger.read(tmp_path / "run") as ledger:
        peaks = {entry.key: entry.result.peak_memory for entry in ledger.entries()}
    found = {depth: (wanted, peaks[key]) for key, (depth, wanted) in expected.items()}
    assert found[7][0] > found[0][0] + 5e8
    for wanted, peak in found.values():
        assert 0.5 < peak / wanted < 1.2, found


def test_the_estimate_is_what_a_cell_reserves_of_a_cluster(here, cache, tmp_path):
    """Unless the user says another size; a pass that fills activations reserves as much as the smallest cell."""
    plan = make_plan(Study.load(here / "study.toml"), cache, download=True)
    smallest = min(p.memory for p in plan.cells)
    assert smallest < max(p.memory for p in plan.cells)
    for said in (None, 5 * 10**9, 0):
        with open_engine("serial") as engine:
            function = away(plan, engine, Cluster(memory=said), 0)
        for p in plan.cells:
            locations = Locations(plan.study.data.path, None, p.weights, cache, tmp_path, "cpu")
            nothing = np.zeros(0, dtype=np.int64)
            assert function.needs(CellTask(p.cell, locations, given_rate(p.cell))).memory == (
                p.memory if said is None else said
            )
            filling = function.needs(Fill(p.cell, locations, (0,), "train", nothing, nothing))
            assert filling.memory == (smallest if said is None else said)


def test_a_slice_is_as_large_as_training_takes_it():
    assert memory_need.SLICE == crossing.SLICE


def test_what_predicting_reserves_grows_with_network_batch_and_threads(tmp_path_factory, cache):
    """For the ONNX file, which gets few images at once, less."""
    bundle = make_bundle(tmp_path_factory.mktemp("bundle"), cache)
    about = read_about(bundle)
    count = len(cuts(backbone_of(about.cell), 32, cache)) - 1
    widest = cuts(backbone_of(about.cell), 32, cache)[count].widest
    one, two, threads, onnx = (
        memory_for(bundle, about, PredictSettings(device="cpu", **how))
        for how in (
            {"backend": "torch", "batch": 256},
            {"backend": "torch", "batch": 512},
            {"backend": "torch", "batch": 256, "threads": 2},
            {"backend": "onnx", "batch": 256},
        )
    )
    assert memory_need.PREDICTING < onnx < one < two == threads
    assert two - one == pytest.approx(memory_need.MARGIN * 256 * memory_need.MAPS * widest, abs=2)
