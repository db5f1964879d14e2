"""Keeping activations: what the plan decides, and that a study's numbers do not depend on it."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example
from hypothesis import strategies as st

from helpers_soak import fuzz
from helpers_study import make_survey, write_study
from helpers_watched import watched
from skythaw.cli.terminal import parse_bytes
from skythaw.data.split import Parts
from skythaw.errors import SpecError
from skythaw.spec import Recipe, Study, WeightsChoice
from skythaw.study.cell_task import CellTask
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings, Watcher
from skythaw.study.plan import make_plan, plan_trials
from skythaw.study.run_study import run_study
from skythaw.tuning.epoch_draw import draw
from skythaw.tuning.frozen.activation_cache import ActivationKey, activations_folder, evict, mark_used, used_bytes
from skythaw.tuning.frozen.activation_files import find
from skythaw.tuning.frozen.reuse_plan import FLOPS, READ, WRITE, ObjectSets, plan_reuse
from skythaw.tuning.labelled_images import LabelledImages
from test_spec import cell

BIG = 10**12
EARLY_EPOCHS = 4


def sets(objects=100, external=0):
    labels = np.array(["A", "B"] * (objects // 2))
    rows = np.arange(objects)
    test = np.ones(external, dtype=bool) if external else None
    parts = Parts(rows[:60], rows[60:80], rows[80:] if test is None else rows[:0])
    return ObjectSets(labels, parts, test)


def cells(depths, count=1, **recipe):
    made = Recipe(**{"epochs": EARLY_EPOCHS} | recipe)
    return [(cell(depth=d, train_size=40, seed=s, recipe=made), d) for d in depths for s in range(count)]


HEAVY = {0: (10**9, 100), 1: (8 * 10**8, 100), 2: (5 * 10**8, 100), 3: (0, None)}
"""FLOPs of the prefix, and numbers that cross, by depth: much to compute, little to keep"""


def test_heavy_prefixes_are_kept_and_full_depth_never():
    found = plan_reuse(cells([0, 1, 2, 3]), sets(), HEAVY, BIG)
    assert found.kept == (0, 1, 2)
    assert found.uses[3].why == "nothing is frozen below it"
    assert found.flops == found.demand.pairs * 10**9, "one pass, as long as the longest prefix"


def test_light_prefixes_with_much_to_keep_are_computed_again():
    found = plan_reuse(cells([1, 2]), sets(), {1: (10**9, 100), 2: (10**6, 10**6)}, BIG)
    assert found.kept == (1,)
    assert found.uses[1].why == "computing it again costs less than keeping it"


def test_on_a_gpu_only_what_takes_it_long_is_kept():
    prefixes = {0: (10**11, 100), 1: (10**7, 100)}
    assert plan_reuse(cells([0, 1]), sets(), prefixes, BIG, "cpu").kept == (0, 1)
    assert plan_reuse(cells([0, 1]), sets(), prefixes, BIG, "cuda").kept == (0,)


def test_a_plan_is_for_the_device_that_cells_run_on(here, tmp_path):
    write_study(here)
    study = Study.load(here / "study.toml")
    on_gpu, on_cpu = (make_plan(study, tmp_path, budget=BIG, device=each) for each in ("cuda", "cpu"))
    for plan in (on_gpu, plan_trials(on_gpu, on_gpu.cells, tmp_path, BIG, trial=False)):
        assert {use.speed for reuse in plan.reuse for use in reuse.uses} == {FLOPS["cuda"]}
    assert {use.speed for reuse in on_cpu.reuse for use in reuse.uses} == {FLOPS["cpu"]}
    assert [p.cell.key for p in on_gpu.cells] == [p.cell.key for p in on_cpu.cells]


def test_a_single_pass_is_not_worth_keeping():
    """One epoch without other views: everything is used but once or twice."""
    assert plan_reuse(cells([1], epochs=1, views=8), sets(), {1: (10**7, 10**5)}, BIG).kept == ()


def test_what_can_not_be_cut_is_not_kept():
    found = plan_reuse(cells([0, 1]), sets(), {0: (10**9, 100), 1: (10**9, None)}, BIG)
    assert found.kept == (0,)
    assert found.uses[1].why == "the network can't be cut there"


def test_the_budget_is_kept_to_and_the_best_use_of_it_stays():
    prefixes = {0: (10**9, 100), 1: (10**9, 10_000), 2: (5 * 10**8, 100)}
    whole = plan_reuse(cells([0, 1, 2]), sets(), prefixes, BIG)
    assert whole.kept == (0, 1, 2)
    size = {use.depth: use.bytes for use in whole.uses}
    some = plan_reuse(cells([0, 1, 2]), sets(), prefixes, size[0] + size[2])
    assert some.kept == (0, 2)
    assert next(use for use in some.uses if use.depth == 1).why == "would take more than the cache may hold"
    assert plan_reuse(cells([0, 1, 2]), sets(), prefixes, 0).kept == ()


@fuzz(
    200,
    st.dictionaries(st.integers(0, 6), st.tuples(st.integers(0, 10**10), st.integers(1, 10**7)), min_size=1),
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(0, 10**10),
)
@example({0: (56223, 49), 1: (46323, 54), 2: (33106, 50)}, 1, 9, 46292)  # what fits saves less than the pass costs
def test_a_plan_is_never_slower_than_keeping_nothing(prefixes, count, epochs, budget):
    """By its own reckoning, of all time: passes, reading, writing, and the pass that fills."""
    ordered = dict(zip(sorted(prefixes), sorted(prefixes.values(), reverse=True), strict=True))
    found = plan_reuse(cells(list(ordered), count, epochs=epochs), sets(), ordered, budget)
    without = sum(use.passes * use.prefix for use in found.uses) / FLOPS["cpu"]
    with_it = found.flops / FLOPS["cpu"]
    for use in found.uses:
        if not use.keep:
            with_it += use.passes * use.prefix / FLOPS["cpu"]
            continue
        each = use.bytes / (use.train_pairs + use.score_pairs)
        with_it += use.passes * each / READ + use.bytes / WRITE
    assert with_it <= without * (1 + 1e-9)
    assert sum(use.bytes for use in found.uses if use.keep) <= budget


def test_the_demand_is_what_training_will_draw():
    some = sets(external=7)
    ((one, depth),) = cells([1])
    found = plan_reuse([(one, depth)], some, {1: (10**9, 10)}, BIG)
    mine = some.drawn(one)
    expected = {(0, row) for row in mine}
    for epoch in range(1, EARLY_EPOCHS + 1):
        expected |= set(zip(draw(40, one.recipe, one.seed, epoch).views.tolist(), mine.tolist(), strict=True))
    assert {tuple(pair) for pair in np.argwhere(found.demand.train).tolist()} == expected
    assert np.flatnonzero(found.demand.score).tolist() == list(range(60, 80))
    assert found.demand.test.sum() == 7
    assert found.uses[0].passes == 40 * (EARLY_EPOCHS + 1) + 20 * (EARLY_EPOCHS + 1) + 7


def test_shifts_leave_only_what_is_scored_to_keep():
    found = plan_reuse(cells([1], shift=2), sets(), {1: (10**9, 10)}, BIG)
    assert found.demand.train.sum() == 40, "scored once, after training"
    assert found.uses[0].passes == 40 + 20 * (EARLY_EPOCHS + 1) + 20


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500MB", 5 * 10**8), ("20 GB", 2 * 10**10), ("1.5gib", 3 * 2**29), ("7k", 7000), ("12b", 12)],
)
def test_sizes_as_people_write_them(text, size):
    assert parse_bytes(text, "--cache-size") == size


@pytest.mark.parametrize("text", ["", "big", "-1", "5 X", "1e9", "ib"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(SpecError, match=r"--cache-size .* is no size; write for example 500MB, 20GB, or 0"):
        parse_bytes(text, "--cache-size")


class TestEviction:
    """Room in the cache folder."""

    def folders(self, cache, count=4, size=10_000):
        made = []
        for n in range(count):
            folder = activations_folder(cache) / f"{n}"
            folder.mkdir(parents=True)
            (folder / "values-0").write_bytes(bytes(size))
            (folder / "about.json").write_text("{}")
            os.utime(folder / "about.json", (1000 + n, 1000 + n))
            made.append(folder)
        return made

    def test_the_longest_unused_go_first_and_no_more_than_needed(self, tmp_path):
        made = self.folders(tmp_path)
        each = used_bytes(made[0])
        mark_used(made[0])
        assert evict(tmp_path, 4 * each, 2 * each - 1, set()) == 2 * each
        assert [f.exists() for f in made] == [True, False, False, True]

    def test_what_the_run_itself_uses_stays(self, tmp_path):
        made = self.folders(tmp_path)
        evict(tmp_path, 0, 1, set(made[:2]))
        assert [f.exists() for f in made] == [True, True, False, False]

    def test_nothing_is_removed_where_there_is_room(self, tmp_path):
        made = self.folders(tmp_path)
        assert evict(tmp_path, BIG, 10**6, set()) == 0
        assert all(f.exists() for f in made)
        assert evict(tmp_path / "none", BIG, 10**6, set()) == 0


class Noting(Watcher):
    def __init__(self):
        self.warnings, self.images = [], 0

    def warned(self, text):
        self.warnings.append(text)

    def filled(self, images):
        self.images += images


def run(here, cache, name, size=BIG, engine="serial", **replace):
    study = Study.load(write_study(here, replace=REPLACE | replace))
    watcher = Noting()
    summary = run_study(study, RunSettings(here / name, cache, engine, 1, "cpu", size, control=False), watcher)
    assert summary.failed == 0
    with Ledger.read(here / name) as ledger:
        return {e.key: e.result for e in ledger.entries()}, watcher


REPLACE = {"seed = [0, 1]": "seed = [0]", "epochs = 7": "epochs = 2"}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reuse")
    make_survey(folder / "survey.parquet")
    return folder


@pytest.fixture
def slow_machine(monkeypatch):
    """As on a machine that computes slowly: then even a tiny network's activations are worth keeping."""
    monkeypatch.setattr("skythaw.tuning.frozen.reuse_plan.FLOPS", {"cpu": 1e7})


@pytest.fixture(scope="module")
def without(here, tmp_path_factory):
    results, watcher = run(here, tmp_path_factory.mktemp("cache"), "without", 0)
    assert watcher.images == 0
    return results


def judged(results):
    return {key: (r.weights_sha256, r.scores, r.curves, r.probe) for key, r in results.items()}


def test_a_study_has_the_same_numbers_with_and_without(slow_machine, here, without, tmp_path):
    """Filled, read again by a second run, and off."""
    for name in ("filled", "read"):
        results, watcher = run(here, tmp_path, name)
        assert watcher.images > 0
        assert not watcher.warnings
        assert judged(results) == judged(without)
        shutil.rmtree(here / name)


def test_frozen_cells_of_a_warm_cache_compute_no_prefix(slow_machine, here, tmp_path, monkeypatch):
    head_only = {'depth = ["0%", "50%", "100%"]': "depth = [0, 1]"}
    run(here, tmp_path, "cold", **head_only)
    monkeypatch.setattr(LabelledImages, "batch", _refuse_but_one)
    results, watcher = run(here, tmp_path, "warm", **head_only)
    assert watcher.images > 0
    assert len(results) == 2
    for name in ("cold", "warm"):
        shutil.rmtree(here / name)


BATCH = LabelledImages.batch


def _refuse_but_one(images, chosen, *rest):
    assert len(chosen) == 1, "an image went through the prefix again"  # one alone: latency, and the shapes of values
    return BATCH(images, chosen, *rest)


def test_activations_that_vanish_are_computed_again(slow_machine, here, without, tmp_path, own_engine):
    """As another run's eviction would."""
    harmed = []

    def harm(task):
        if not isinstance(task, CellTask):
            return
        folders = sorted(activations_folder(tmp_path).iterdir())
        if len(harmed) % 2 == 0 and folders:
            shutil.rmtree(folders[0])
        elif folders:
            (folders[0] / "present").unlink()
        harmed.append(len(folders))

    results, _ = run(here, tmp_path, "harmed", engine=own_engine(watched(harm)))
    assert judged(results) == judged(without)
    assert harmed[0] > 1
    shutil.rmtree(here / "harmed")


def test_a_cache_that_can_not_be_written_is_a_warning(slow_machine, here, without, tmp_path):
    activations_folder(tmp_path).parent.mkdir(parents=True, exist_ok=True)
    activations_folder(tmp_path).write_text("a file where the folder would be")
    results, watcher = run(here, tmp_path, "full")
    assert len(watcher.warnings) == 1
    assert "frozen activations are not kept, cells compute them again" in watcher.warnings[0]
    assert re.search("File exists|Not a directory", watcher.warnings[0])
    assert judged(results) == judged(without)
    shutil.rmtree(here / "full")


@pytest.mark.soak
@pytest.mark.parametrize("epochs", [2, 7])
def test_half_precision_trains_as_well_as_single(slow_machine, here, tmp_path, epochs):
    half, _ = run(here, tmp_path, "half", **{"epochs = 7": f"epochs = {epochs}"})
    single, _ = run(here, tmp_path, "single", **{"epochs = 7": f'epochs = {epochs}\nactivations = "float32"'})
    pairs = list(zip(half.values(), single.values(), strict=True))
    assert any(a.weights_sha256 != b.weights_sha256 for a, b in pairs), "half precision was never used"
    assert np.mean([a.scores["test"]["log_loss"] - b.scores["test"]["log_loss"] for a, b in pairs]) < 0.002
    for name in ("half", "single"):
        shutil.rmtree(here / name)


def test_a_kept_store_holds_just_what_was_asked_for(slow_machine, here, tmp_path):
    run(here, tmp_path, "just")
    study = Study.load(write_study(here, replace=REPLACE))
    plan = make_plan(study, tmp_path, budget=BIG)
    (reuse,) = plan.reuse
    assert len(reuse.kept) == 2
    pairs = reuse.demand.train.sum(), reuse.demand.score.sum()
    counts = []
    for folder in activations_folder(tmp_path).iterdir():
        kept = find(folder, reuse.demand.train.shape[1])
        counts.append(int(np.asarray(kept.present).sum()))
    # depth 0 is float32 for training and scoring alike: one folder with both
    both = np.logical_or(reuse.demand.train, np.concatenate([reuse.demand.score, np.zeros((7, 180), bool)])).sum()
    assert sorted(counts) == sorted([int(pairs[0]), int(pairs[1]), int(both)])
    shutil.rmtree(here / "just")


def test_the_command_line_shows_the_decision(here, skythaw, tmp_path):
    write_study(here, replace=REPLACE)
    shown = skythaw("--cache", tmp_path, "study", "plan", here / "study.toml", "--json", "--cache-size", "0")
    told = json.loads(shown.stdout)["activations"]
    assert [use["depth"] for use in told] == [0, 4, 7]
    assert not any(use["kept"] for use in told)
    text = skythaw("--cache", tmp_path, "study", "plan", here / "study.toml", "--wide").stdout
    assert "frozen activations" in text
    assert "nothing is frozen below it" in text
    refused = skythaw("--cache", tmp_path, "study", "plan", here / "study.toml", "--cache-size", "lots")
    assert refused.returncode == 2
    assert refused.stderr.strip() == ("error: --cache-size 'lots' is no size; write for example 500MB, 20GB, or 0")


def test_memory_does_not_grow_with_what_is_read(tmp_path):
    """Pages read are given back: what is read passes through without staying."""
    from skythaw.machine.usage import peak_memory, reset_peak_memory
    from skythaw.tuning.frozen.activation_files import Writer, create

    kept = create(tmp_path / "a", 2000, ((64, 64, 16),), torch.float16)
    with Writer(kept) as writer:
        for start in range(0, 2000, 50):
            writer.put(np.zeros(50, int), np.arange(start, start + 50), (torch.ones(50, 16, 64, 64),))
        writer.commit()
    assert used_bytes(Path(kept.folder)) > 2.6e8
    reset_peak_memory()
    before = peak_memory()
    kept = find(tmp_path / "a", 2000)
    for start in range(0, 2000, 50):
        (values,) = kept.read(np.zeros(50, int), np.arange(start, start + 50), torch.device("cpu"))
        assert values.shape == (50, 16, 64, 64)
    assert peak_memory() - before < 1.5e8


def test_two_sets_of_weights_of_one_file_keep_activations_apart(tmp_path):
    one, other, alone = (cell(weights=WeightsChoice(key=key)) for key in ("teacher", "student", None))
    folders = {ActivationKey(each, 2, "float16", "d", "cpu").folder(tmp_path) for each in (one, other, alone)}
    assert len(folders) == 3
