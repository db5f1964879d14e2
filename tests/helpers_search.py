"""Small searches, and an engine that trains nothing: it makes up what networks of known skill would say."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from helpers_run import chance_of
from helpers_study import write_study
from skythaw.engines.engine import attempt
from skythaw.engines.serial import Serial
from skythaw.spec import Study
from skythaw.stats.cell_predictions import Predictions, save_predictions
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.study_data import open_study_data
from skythaw.tuning.scores import all_scores
from test_ledger import result

DEPTHS = {'depth = ["0%", "50%", "100%"]': "depth = [0, 2, 4, 7]"}
AUTO = {"lr = 5e-3": 'lr = "auto"', "epochs = 7": 'epochs = "auto"'}
LONG = {"epochs = 7": "epochs = 100"}
ONE = {"seed = [0, 1]": "seed = [0]"}
HALF = {"validation = 0.2": "validation = 0.5"}


def setting(here, cache, name="run", engine="serial"):
    return RunSettings(here / name, cache, engine, 1, "cpu", cache_size=0, control=False)


def study_of(here, *changes):
    return Study.load(write_study(here, replace={k: v for each in (DEPTHS, *changes) for k, v in each.items()}))


def invented(skill, study: Study, cache_folder, unfinished=()):
    """A kind of engine whose cells have the skill that a function of cell and trial (a bool) says.

    0 is guessing, 3 nearly perfect; an error that the function raises is the cell's. In every race the rate 1e-3 wins.
    Cells of the depths `unfinished` have not converged.
    """

    @cache
    def objects():
        data = open_study_data(study, cache_folder)
        classes = data.cutouts.classes
        rows = {part: getattr(data.parts, part) for part in ("train", "validation", "test")}
        ids = {part: [f"{part}-{row}" for row in some] for part, some in rows.items()}
        true = {part: np.searchsorted(classes, data.cutouts.labels[some].astype(str)) for part, some in rows.items()}
        return classes, ids, true

    def make_up(task):
        cell, (classes, ids, true) = task.cell, objects()
        level = skill(cell, task.trial)
        parts = ("validation",) if task.trial else ("train", "validation", "test")
        p = {part: guesses(level, cell, true[part]) for part in parts}
        log_p = {part: np.log(each) for part, each in p.items()}
        save_predictions(task.locations.out, cell, Predictions(classes, ids, true, log_p))
        changes = {
            "classes": classes,
            "scores": {part: all_scores(p[part], true[part], classes) for part in p},
            "curves": [{"step": 60, "epoch": 1.0, "log_loss": abs(math.log10(task.rate.lr / 1e-3))}],
            "lr": task.rate.lr,
            "lr_trials": list(task.rate.trials),
            "not_converged": ("it still gained",) if cell.depth in unfinished else (),
            "weights_sha256": None if task.trial else "w",
        }
        return result(cell.key).model_copy(update=changes)

    class Invented(Serial):
        def map(self, function, items):
            for task in items:
                yield attempt(make_up, task)

    return Invented


def guesses(level, cell, true):
    """Probabilities: an object is as hard for every network, or nearly so."""
    hard, own = (chance.normal(size=(len(true), 3)) for chance in (np.random.default_rng(0), chance_of(cell)))
    logits = 0.9 * hard + 0.4 * own
    logits[np.arange(len(true)), true] += level
    e = np.exp(1.5 * logits)
    return (e / e.sum(1, keepdims=True)).astype(np.float32)


def entries(folder, role="cell"):
    with Ledger.read(folder) as ledger:
        return ledger.entries(role)
