"""A cell of both: the network of a finished cell on images, together with a model of the numbers of the same objects.

Nothing of the two is trained again, but for the stack: it learns from training objects that the network has not seen,
so the network is trained once more for each fold of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.machine.numerics import numerics
from skythaw.machine.usage import Stopwatch, peak_memory, reset_peak_memory
from skythaw.stats.cell_predictions import OUT_OF_FOLD, Predictions, save_predictions
from skythaw.study.cell_result import Result
from skythaw.study.cell_sets import CellSets, load_sets, with_activations
from skythaw.study.cell_task import Beside, CellTask
from skythaw.study.number_weights import save_stack
from skythaw.study.train_as_before import train_as_before
from skythaw.tuning.folds import folds_of
from skythaw.tuning.fusion import NETWORK_FOLDS, STACK, WAYS, Stack, best_way, fit_stack, fused, log_loss_of
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.scores import all_scores, collapse_alarm
from skythaw.tuning.thawed_network import assemble
from skythaw.tuning.training_loop import log_probabilities


def run_both(task: CellTask) -> Result:
    """Run a cell of both; leave its predictions in the run folder, and its stack where there is one."""
    cell, locations, beside = task.cell, task.locations, task.beside
    assert beside is not None
    with numerics(cell.recipe.threads, cell.seed, locations.device) as device:
        watch = Stopwatch()
        reset_peak_memory()
        sets = load_sets(cell, locations, device)
        watch.lap("prepare")
        stack = _stack(task, sets, device) if STACK in WAYS[cell.inputs] else None
        ways = [way for way in WAYS[cell.inputs] if way != STACK or stack] or ["mean"]
        said = {way: {part: _said(beside, part, way, stack) for part in ("validation", "test")} for way in ways}
        losses = {way: log_loss_of(said[way]["validation"], sets.targets["validation"]) for way in ways}
        way = best_way(losses)
        watch.lap("train")
        log_p = {part: each.astype(np.float32) for part, each in said[way].items()}
        ids = {part: sets.ids[part] for part in log_p}
        targets = {part: sets.targets[part] for part in log_p}
        save_predictions(locations.out, cell, Predictions(sets.classes, ids, targets, log_p))
        if way == STACK and stack:
            save_stack(locations.out, cell, sets.classes, stack)
        scores = {part: all_scores(np.exp(log_p[part]), targets[part], sets.classes) for part in log_p}
        alarms = [collapse_alarm(np.exp(log_p[part]), targets[part], sets.classes, part) for part in log_p]
        watch.lap("score")
        own = {"key": cell.key, "scores": scores, "gap": None, "probe": None, "peak_score": -losses[way]}
        return beside.result.model_copy(
            update={
                **own,
                "fusion": way,
                "fusion_losses": losses,
                "made_of": beside.keys,
                "alarms": [alarm for alarm in alarms if alarm],
                "seconds": watch.seconds(),
                "peak_memory": peak_memory(),
            }
        )


def _said(beside: Beside, part: str, way: str, stack: Stack | None) -> Float[np.ndarray, "object class"]:
    """Log-probabilities of both; of the image alone where an object has no numbers, as a classifier judges it."""
    images, table = beside.images[part], beside.table[part]
    known = beside.known.get(part, np.ones(len(images), dtype=bool))
    return np.where(known[:, None], fused(way, (images, table), stack), images)


def _stack(task: CellTask, sets: CellSets, device: torch.device) -> Stack | None:
    """Fit the stack on training objects with numbers; None where they lack a class, or can't be divided into folds."""
    beside = task.beside
    assert beside is not None
    of_table, targets = beside.table.get(OUT_OF_FOLD), sets.targets["train"]
    known = beside.known.get("train", np.ones(len(targets), dtype=bool))
    if of_table is None or len(np.unique(targets[known])) < len(sets.classes):
        return None
    of_images = _network_out_of_fold(task, beside.result, sets, device)
    return None if of_images is None else fit_stack((of_images[known], of_table[known]), targets[known])


def _network_out_of_fold(
    task: CellTask, result: Result, sets: CellSets, device: torch.device
) -> Float[np.ndarray, "object class"] | None:
    """Log-probabilities of the training objects, each by a network that was trained without it and its group."""
    cell, locations = task.cell, task.locations
    folds = folds_of(sets.targets["train"], sets.groups, NETWORK_FOLDS)
    if folds is None:
        return None
    found = np.zeros((len(sets.groups), len(sets.classes)), dtype=np.float32)
    for rest, fold in folds:
        network = build(backbone_of(cell), locations.weights)
        model = assemble(network, cell, len(sets.classes)).to(device).to(memory_format=torch.channels_last)
        images = with_activations(sets, cell, locations, model.cut_depth).images
        seen, unseen = _some(images["train"], rest), _some(images["train"], fold)
        train_as_before(model, cell, result, seen, (seen, images["validation"]))
        found[fold] = log_probabilities(model, unseen, cell.recipe)
    return found


def _some(images: LabelledImages, places: np.ndarray) -> LabelledImages:
    return replace(images, rows=images.rows[places], targets=images.targets[places])
