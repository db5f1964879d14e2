"""START READING HERE: one cell, from cutouts to scores.

Cutouts -> parts -> backbone -> cut at the depth -> train what lies above -> scores and predictions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skythaw.backbones import facts as network_facts
from skythaw.backbones.catalogue import backbone_of
from skythaw.backbones.network import build, reset
from skythaw.backbones.weights import Weights
from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.split import nested_order, split
from skythaw.data.store import Store, open_store
from skythaw.errors import DataError
from skythaw.spec import Cell
from skythaw.study.kept import Place, mark_used, precision_of
from skythaw.study.machine import Stopwatch, latency, numerics, peak_memory, reset_peak_memory, versions
from skythaw.study.predictions import Predictions, save_predictions
from skythaw.study.result import Result
from skythaw.study.trained import save_weights
from skythaw.tuning.activations import find
from skythaw.tuning.feed import Images
from skythaw.tuning.held import Held, room_on
from skythaw.tuning.model import Classifier, Head
from skythaw.tuning.probe import Probe, pooled, solve, start_from
from skythaw.tuning.rates import settle_rate
from skythaw.tuning.scores import all_scores, collapse_alarm
from skythaw.tuning.strategies import strategy
from skythaw.tuning.train import Fit, fit, predict

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Site:
    """Where things are on this machine. Only the device decides numbers: a run folder keeps to one kind of it."""

    data: Path
    test: Path | None
    weights: Weights
    cache: Path
    out: Path
    device: str = "auto"
    """``auto`` is a GPU if there is one"""
    reuse: bool = True
    """Whether frozen activations that are kept are read. It decides how long a cell takes, not its numbers."""
    compiled: bool = False
    """Whether the trained part is compiled. It decides last bits: a run folder keeps to one way."""


@dataclass(frozen=True)
class Task:
    """What an engine hands to a worker."""

    cell: Cell
    site: Site
    trial: bool = False
    """Score validation alone, and keep no weights: the cell only serves to choose others.

    What chooses must not see the test set.
    """
    first: tuple[Any, ...] = field(default=(), repr=False)
    """On a cluster: what is kept of the frozen part (`skythaw.study.fill.Fill`) at the cell's node before it runs."""


@dataclass(frozen=True)
class Sets:
    """The three sets of a cell, ready for the network."""

    classes: tuple[str, ...]
    images: dict[str, Images]
    ids: dict[str, list[str]]

    @property
    def targets(self) -> dict[str, np.ndarray]:
        return {part: images.targets for part, images in self.images.items()}


def run_cell(task: Task) -> Result:
    """Run one cell; leave its predictions and trained weights in the run folder.

    The numbers depend on the cell, and on the content of data and weights, alone: same cell, same machine, same bits.
    """
    cell, site = task.cell, task.site
    with numerics(cell.recipe.threads, cell.seed, site.device) as device:
        watch = Stopwatch()
        reset_peak_memory()
        sets = load_sets(cell, site, device, ("train", "validation") if task.trial else PARTS)
        model = make_model(cell, site, len(sets.classes)).to(device).to(memory_format=torch.channels_last)
        sets = with_activations(sets, cell, site, model.cut_depth)
        if site.compiled:
            model.compile_training()
        watch.lap("prepare")
        training, validation = sets.images["train"], sets.images["validation"]
        reported, start = cell.depth == 0 and not task.trial, model.thaw.head == "solved"
        probe = solve_probe(model, sets, cell) if reported or start else None
        if probe and start:
            start_from(model, probe)
        recipe, trials = settle_rate(model, training, validation, cell.recipe, cell.seed)
        fitted = fit(model, training, validation, recipe, cell.seed)
        watch.lap("train")
        scored = ("validation",) if task.trial else PARTS
        p = {part: predict(model, sets.images[part], recipe) for part in scored}
        watch.lap("score")
        digest = None if task.trial else save_weights(site.out, cell, sets.classes, model.trained())
        save_predictions(site.out, cell, Predictions(sets.classes, sets.ids, sets.targets, p))
        return Result(
            key=cell.key,
            classes=sets.classes,
            **_judgement(fitted, sets, p),
            **_size(cell, site, model),
            probe=_probe_scores(probe, model, sets, cell) if probe and reported else None,
            lr=float(recipe.lr),
            lr_trials=trials,
            latency=None if task.trial else latency(model, training),
            seconds=watch.seconds(),
            peak_memory=peak_memory(),
            device=str(device),
            weights_sha256=digest,
            versions=versions(),
        )


def load_sets(cell: Cell, site: Site, device: torch.device, parts_wanted: Sequence[str] = PARTS) -> Sets:
    """Training, validation and test objects of a cell, or some of these parts."""
    cutouts = _unchanged(read_cutouts(site.data), cell.data_sha256)
    store = open_store(cutouts, site.cache, skip_broken=cell.skip_broken)
    parts = split(cutouts, cell.split, usable=store.usable, external_test=cell.test_sha256 is not None)
    pool = parts.train
    drawn = pool[nested_order(cutouts.labels[pool], cell.seed)[: cell.train_size]]
    rows = {"train": (cutouts, store, drawn), "validation": (cutouts, store, parts.validation)}
    if site.test is not None and "test" in parts_wanted:
        other = _unchanged(read_cutouts(site.test), cell.test_sha256)
        other_store = open_store(other, site.cache, skip_broken=cell.skip_broken)
        rows["test"] = (other, other_store, np.flatnonzero(other.labelled & other_store.usable))
    elif "test" in parts_wanted:
        rows["test"] = (cutouts, store, parts.test)
    rows = {part: rows[part] for part in parts_wanted}
    index = {name: i for i, name in enumerate(cutouts.classes)}
    targets = {
        part: np.array([index[label] for label in c.labels[r]], dtype=np.int64) for part, (c, _, r) in rows.items()
    }
    return Sets(
        classes=cutouts.classes,
        images={part: make_images(cell, s, r, targets[part], device) for part, (_, s, r) in rows.items()},
        ids={part: [c.object_ids[i] for i in r] for part, (c, _, r) in rows.items()},
    )


def make_images(cell: Cell, store: Store, rows: np.ndarray, targets: np.ndarray, device: torch.device) -> Images:
    """Some objects, and how the cell's network wants their pixels."""
    wanted = backbone_of(cell).preprocessing
    return Images(store.pixels, rows, targets, cell.pixels, wanted.mean, wanted.std, device, bands=store.bands)


def with_activations(sets: Sets, cell: Cell, site: Site, depth: int) -> Sets:
    """The sets with the precision of their frozen activations, and with those that are kept for the cut at `depth`."""
    images = {}
    for part, each in sets.images.items():
        sha256 = cell.test_sha256 if part == "test" and cell.test_sha256 else cell.data_sha256
        precision = precision_of(cell, part, depth)
        folder = Place(cell, depth, precision, sha256, each.device.type).folder(site.cache)
        kept = find(folder, len(each.pixels)) if site.reuse else None
        if kept:
            mark_used(folder)
        room = room_on(each.device)
        held = Held(kept, each.rows, each.device, room) if kept and room else kept
        images[part] = replace(each, precision=getattr(torch, precision), kept=held)
    return replace(sets, images=images)


def make_model(cell: Cell, site: Site, classes: int) -> Classifier:
    """The cell's network, cut at its depth, with a fresh head drawn from the cell's seed."""
    network = build(backbone_of(cell), site.weights)
    thaw = strategy(cell.strategy)(len(network.blocks), cell.depth)
    if thaw.reset:
        reset(network, thaw.reset, cell.seed)
    head = Head(network.channels, classes, cell.recipe.dropout, torch.Generator().manual_seed(cell.seed))
    return Classifier(network, thaw, head, cell.recipe.batchnorm)


def solve_probe(model: Classifier, sets: Sets, cell: Cell) -> Probe:
    """The head solved exactly on the features of the network as it stands."""
    features = {part: pooled(model, sets.images[part], cell.recipe) for part in ("train", "validation")}
    data = {part: (features[part], sets.images[part].targets) for part in features}
    return solve(data["train"], data["validation"], cell.recipe)


def _probe_scores(probe: Probe, model: Classifier, sets: Sets, cell: Cell) -> dict[str, Any]:
    """Scores of the exactly solved head at depth 0, where the features never change."""
    p = {part: probe(pooled(model, images, cell.recipe)) for part, images in sets.images.items()}
    scores = {part: all_scores(p[part], images.targets, sets.classes) for part, images in sets.images.items()}
    return {"strength": probe.strength, "scores": scores}


def _unchanged(cutouts: Cutouts, expected: str | None) -> Cutouts:
    if cutouts.sha256 != expected:
        raise DataError(f"{cutouts.paths[0]} has changed since the study was planned: run the study in a new folder")
    return cutouts


def _judgement(fitted: Fit, sets: Sets, p: dict[str, np.ndarray]) -> dict[str, Any]:
    """Scores, curves and alarms."""
    scores = {part: all_scores(p[part], sets.images[part].targets, sets.classes) for part in p}
    alarms = [collapse_alarm(p[part], sets.images[part].targets, sets.classes, part) for part in p if part != "train"]
    return {
        "scores": scores,
        "curves": fitted.curves,
        "peak_epoch": fitted.epoch,
        "peak_score": fitted.score if fitted.epoch else None,
        "gap": scores["train"]["macro_f1"] - scores["validation"]["macro_f1"] if "train" in scores else None,
        "alarms": fitted.alarms + [alarm for alarm in alarms if alarm],
    }


def _size(cell: Cell, site: Site, model: Classifier) -> dict[str, Any]:
    """How large the classifier is, and how much of it was trained."""
    backbone = backbone_of(cell)
    facts = network_facts.facts(backbone, site.cache)
    flops = network_facts.block_flops(backbone, cell.pixels.size, site.cache)
    ratios = facts.ratios(model.thaw.blocks, model.head.linear.out_features, flops, model.thaw.only)
    model.tune(model.thaw.blocks)
    every = [*model.network.features.parameters(), *model.head.parameters()]
    return {
        "blocks": len(model.network.blocks),
        "parameters": sum(p.numel() for p in every),
        "trained_parameters": sum(p.numel() for p in every if p.requires_grad),
        "file_bytes": 4 * sum(t.numel() for m in (model.network, model.head) for t in m.state_dict().values()),
        "tpr": ratios.tpr,
        "tlr": ratios.tlr,
        "tfr": ratios.tfr,
    }
