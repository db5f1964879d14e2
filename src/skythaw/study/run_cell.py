"""START READING HERE: one cell, from cutouts to scores.

Cutouts -> parts -> backbone -> cut at the depth -> train what lies above -> scores and predictions
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from skythaw.backbones import network_facts
from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.machine.numerics import numerics
from skythaw.machine.usage import Stopwatch, peak_memory, reset_peak_memory
from skythaw.spec import Cell, Recipe
from skythaw.stats.cell_predictions import OUT_OF_FOLD, Predictions, save_predictions
from skythaw.study.cell_objects import PARTS
from skythaw.study.cell_result import Result
from skythaw.study.cell_sets import CellSets, load_sets, with_activations
from skythaw.study.cell_task import CellTask
from skythaw.study.live_epochs import epochs_written
from skythaw.study.measure import latency, versions
from skythaw.study.rate_trials import slower_rates
from skythaw.study.trained_weights import save_weights
from skythaw.tuning.frozen_head import TRAINED, SolvedHeads, out_of_fold, solved_heads, starting_head
from skythaw.tuning.linear_probe import LinearProbe, pooled, start_from
from skythaw.tuning.locations import Locations
from skythaw.tuning.scores import all_scores, collapse_alarm
from skythaw.tuning.thawed_network import ThawedNetwork, assemble
from skythaw.tuning.training_loop import Fit, fit, log_probabilities


def run_cell(task: CellTask) -> Result:
    """Run one cell; leave its predictions and trained weights in the run folder.

    The numbers depend on the cell, and on the content of data and weights, alone: same cell, same machine, same bits.
    """
    cell, locations = task.cell, task.locations
    with numerics(cell.recipe.threads, cell.seed, locations.device) as device:
        watch = Stopwatch()
        reset_peak_memory()
        sets = load_sets(cell, locations, device, ("train", "validation") if task.trial else PARTS)
        model = _assembled(task, len(sets.classes), device)
        sets = with_activations(sets, cell, locations, model.cut_depth)
        watch.lap("prepare")
        training, validation = sets.images["train"], sets.images["validation"]
        recipe = cell.recipe.model_copy(update={"lr": task.rate.lr})
        heads = solved_heads(model, training, validation, recipe) if cell.depth == 0 and not task.trial else None
        with epochs_written(task.epochs, cell.key) as told:
            model, recipe, fitted = _fitted(task, model, sets, told)
        solved = heads.better_than(fitted.score) if heads else None
        if solved:
            start_from(model, solved[1])
        watch.lap("train")
        scored = ("validation",) if task.trial else PARTS
        log_p = {part: log_probabilities(model, sets.images[part], recipe) for part in scored}
        p = {part: np.exp(each) for part, each in log_p.items()}
        watch.lap("score")
        digest = None if task.trial else save_weights(locations.out, cell, sets.classes, model.trained())
        targets = training.targets
        held_out = out_of_fold(heads.features["train"], targets, sets.groups, recipe) if heads else None
        save_predictions(locations.out, cell, _predictions_of(sets, log_p, held_out))
        return Result(
            key=cell.key,
            classes=sets.classes,
            **_judgement(fitted, sets, p),
            peak_score=solved[1].score if solved else (fitted.score if fitted.step else None),
            not_converged=() if solved else fitted.not_converged + task.rate.doubts,
            head=solved[0] if solved else TRAINED,
            **_size(cell, locations, model),
            probe=_probe_scores(heads, solved, model, sets, cell) if heads else None,
            lr=float(recipe.lr),
            lr_trials=list(task.rate.trials),
            latency=None if task.trial else latency(model, training),
            seconds=watch.seconds(),
            peak_memory=peak_memory(),
            device=str(device),
            weights_sha256=digest,
            versions=versions(),
        )


def _assembled(task: CellTask, classes: int, device: torch.device) -> ThawedNetwork:
    """The pretrained network, cut and thawed, with a new head."""
    network = build(backbone_of(task.cell), task.locations.weights)
    model = assemble(network, task.cell, classes).to(device).to(memory_format=torch.channels_last)
    if task.locations.compiled:
        model.compile_training()
    return model


def _fitted(
    task: CellTask, model: ThawedNetwork, sets: CellSets, told: Callable[[dict[str, float]], None] | None
) -> tuple[ThawedNetwork, Recipe, Fit]:
    """Train, at the rate that trials chose. A training that stumbles begins anew, at a lower rate."""
    cell, training, validation = task.cell, sets.images["train"], sets.images["validation"]
    for rate in (task.rate.lr, *slower_rates(cell, task.rate.lr)):
        if rate != task.rate.lr:
            model = _assembled(task, len(sets.classes), training.device)
        recipe = cell.recipe.model_copy(update={"lr": rate})
        if model.thaw.head == "solved":
            start_from(model, starting_head(model, training, validation, recipe))
        fitted = fit(model, training, validation, recipe, cell.seed, told)
        if not fitted.stumbled:
            break
    if recipe.lr != task.rate.lr:
        fitted.alarms.append(f"the learning rate {task.rate.lr:g} was too high for it: trained anew at {recipe.lr:g}")
    return model, recipe, fitted


def _predictions_of(sets: CellSets, log_p: dict[str, np.ndarray], held_out: np.ndarray | None) -> Predictions:
    """What is kept of a cell: validation, test, and the training objects where their labels can be judged."""
    ids, targets, kept = dict(sets.ids), dict(sets.targets), dict(log_p)
    if held_out is not None:
        ids[OUT_OF_FOLD], targets[OUT_OF_FOLD], kept[OUT_OF_FOLD] = ids["train"], targets["train"], held_out
    return Predictions(sets.classes, ids, targets, kept)


def _probe_scores(
    heads: SolvedHeads, kept: tuple[str, LinearProbe] | None, model: ThawedNetwork, sets: CellSets, cell: Cell
) -> dict[str, Any]:
    """Scores of the exactly solved head at depth 0, where the features never change."""
    features = {**heads.features, "test": pooled(model, sets.images["test"], cell.recipe)}
    scores = {part: all_scores(heads.plain(features[part]), sets.targets[part], sets.classes) for part in features}
    return {"strength": heads.plain.strength, "kept_strength": kept[1].strength if kept else None, "scores": scores}


def _judgement(fitted: Fit, sets: CellSets, p: dict[str, np.ndarray]) -> dict[str, Any]:
    """Scores, curves and alarms."""
    scores = {part: all_scores(p[part], sets.images[part].targets, sets.classes) for part in p}
    alarms = [collapse_alarm(p[part], sets.images[part].targets, sets.classes, part) for part in p if part != "train"]
    return {
        "scores": scores,
        "curves": fitted.curves,
        "peak_epoch": fitted.curves[fitted.kept - 1]["epoch"] if fitted.kept else 0,
        "peak_step": fitted.step,
        "course_steps": fitted.place,
        "fall_from": fitted.fall_from,
        "gap": scores["train"]["macro_f1"] - scores["validation"]["macro_f1"] if "train" in scores else None,
        "alarms": fitted.alarms + [alarm for alarm in alarms if alarm],
    }


def _size(cell: Cell, locations: Locations, model: ThawedNetwork) -> dict[str, Any]:
    """How large the classifier is, and how much of it was trained."""
    backbone = backbone_of(cell)
    facts = network_facts.facts(backbone, locations.cache)
    flops = network_facts.block_flops(backbone, cell.pixels.size, locations.cache)
    ratios = facts.ratios(model.thaw.blocks, model.head.linear.out_features, flops, model.thaw.only, model.thaw.rank)
    model.tune(model.thaw.blocks)
    every = [*model.network.features.parameters(), *model.head.parameters()]
    return {
        "blocks": len(model.network.blocks),
        "parameters": sum(p.numel() for p in every),
        "trained_parameters": sum(p.numel() for p in every if p.requires_grad) + model.low_rank_parameters,
        "file_bytes": 4 * sum(t.numel() for m in (model.network, model.head) for t in m.state_dict().values()),
        "tpr": ratios.tpr,
        "tlr": ratios.tlr,
        "tfr": ratios.tfr,
    }
