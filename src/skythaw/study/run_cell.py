"""START READING HERE: one cell, from cutouts to scores.

Cutouts -> parts -> backbone -> cut at the depth -> train what lies above -> scores and predictions
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skythaw.backbones import network_facts
from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.machine.numerics import numerics
from skythaw.machine.usage import Stopwatch, peak_memory, reset_peak_memory
from skythaw.spec import Cell
from skythaw.stats.cell_predictions import Predictions, save_predictions
from skythaw.study.cell_result import Result
from skythaw.study.cell_sets import PARTS, CellSets, load_sets, with_activations
from skythaw.study.cell_task import CellTask
from skythaw.study.measure import latency, versions
from skythaw.study.trained_weights import save_weights
from skythaw.tuning.linear_probe import LinearProbe, pooled, solve, start_from
from skythaw.tuning.locations import Locations
from skythaw.tuning.rate_search import settle_rate
from skythaw.tuning.scores import all_scores, collapse_alarm
from skythaw.tuning.thawed_network import ThawedNetwork, assemble
from skythaw.tuning.training_loop import Fit, fit, predict


def run_cell(task: CellTask) -> Result:
    """Run one cell; leave its predictions and trained weights in the run folder.

    The numbers depend on the cell, and on the content of data and weights, alone: same cell, same machine, same bits.
    """
    cell, locations = task.cell, task.locations
    with numerics(cell.recipe.threads, cell.seed, locations.device) as device:
        watch = Stopwatch()
        reset_peak_memory()
        sets = load_sets(cell, locations, device, ("train", "validation") if task.trial else PARTS)
        network = build(backbone_of(cell), locations.weights)
        model = assemble(network, cell, len(sets.classes)).to(device).to(memory_format=torch.channels_last)
        sets = with_activations(sets, cell, locations, model.cut_depth)
        if locations.compiled:
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
        digest = None if task.trial else save_weights(locations.out, cell, sets.classes, model.trained())
        save_predictions(locations.out, cell, Predictions(sets.classes, sets.ids, sets.targets, p))
        return Result(
            key=cell.key,
            classes=sets.classes,
            **_judgement(fitted, sets, p),
            **_size(cell, locations, model),
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


def solve_probe(model: ThawedNetwork, sets: CellSets, cell: Cell) -> LinearProbe:
    """The head solved exactly on the features of the network as it stands."""
    features = {part: pooled(model, sets.images[part], cell.recipe) for part in ("train", "validation")}
    data = {part: (features[part], sets.images[part].targets) for part in features}
    return solve(data["train"], data["validation"], cell.recipe)


def _probe_scores(probe: LinearProbe, model: ThawedNetwork, sets: CellSets, cell: Cell) -> dict[str, Any]:
    """Scores of the exactly solved head at depth 0, where the features never change."""
    p = {part: probe(pooled(model, images, cell.recipe)) for part, images in sets.images.items()}
    scores = {part: all_scores(p[part], images.targets, sets.classes) for part, images in sets.images.items()}
    return {"strength": probe.strength, "scores": scores}


def _judgement(fitted: Fit, sets: CellSets, p: dict[str, np.ndarray]) -> dict[str, Any]:
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


def _size(cell: Cell, locations: Locations, model: ThawedNetwork) -> dict[str, Any]:
    """How large the classifier is, and how much of it was trained."""
    backbone = backbone_of(cell)
    facts = network_facts.facts(backbone, locations.cache)
    flops = network_facts.block_flops(backbone, cell.pixels.size, locations.cache)
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
