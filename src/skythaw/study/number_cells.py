"""Cells without a network: a control for every study, and models of the numbers alone. No torch.

The control is a forest on numbers that are measured from the same images, as it comes, without any choice. It says
whether a network is worth its price. A cell of a table is the best of several models on validation.
"""

from __future__ import annotations

import itertools
import traceback
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.pixel_store import Store, open_store
from skythaw.machine.package_version import version_of
from skythaw.machine.usage import Stopwatch, peak_memory
from skythaw.spec import NUMBER_MODELS, Cell, Numbers, Recipe, Study, WeightsChoice
from skythaw.stats.cell_predictions import OUT_OF_FOLD, Predictions, save_predictions
from skythaw.study.axis_settings import axis_settings
from skythaw.study.cell_objects import PARTS, CellObjects, OpenSet, cell_objects
from skythaw.study.cell_result import Result
from skythaw.study.ledger_rows import Entry
from skythaw.study.number_weights import save_number_model
from skythaw.study.open_study import OpenStudy
from skythaw.study.study_data import StudyData
from skythaw.tables.column_ranges import ranges_of
from skythaw.tables.number_models import fit_boosting, fit_forest, fit_linear, forest_fits
from skythaw.tables.number_table import NumberTable
from skythaw.tables.open_numbers import column_kinds, open_numbers
from skythaw.tuning.folds import folds_of
from skythaw.tuning.fusion import log_loss_of
from skythaw.tuning.scores import all_scores

CONTROL, TABLE = "control", "table"
"""stand for the network of such a cell"""
MEASURED = Numbers(measured=True)
FITS = {"forest": fit_forest, "boosting": fit_boosting, "linear": fit_linear}
FOLDS = 5


def number_cells(study: Study, study_data: StudyData, *, control: bool) -> list[Cell]:
    """The cells without a network: of each training size and seed one for the control, and one for the table."""
    wanted = [(CONTROL, MEASURED)] if control else []
    if study.uses_numbers:
        wanted.append((TABLE, study.data.numbers))
    sizes = dict.fromkeys(study_data.train_sizes)
    pixels, _ = axis_settings(study, study_data)[0]
    return [
        Cell(
            backbone=name,
            strategy="none",
            depth=0,
            train_size=size,
            seed=seed,
            pixels=pixels,
            split=study.data.split,
            skip_broken=study.data.skip_broken,
            recipe=Recipe(max_steps=4000),  # has no part in it, and belongs to the key
            weights=WeightsChoice(),
            weights_sha256="none",
            data_sha256=study_data.cutouts.sha256,
            test_sha256=study_data.test.sha256 if study_data.test else None,
            inputs="table",
            numbers=numbers,
            numbers_sha256=study_data.sha256_of(numbers),
            number_models=NUMBER_MODELS if name == TABLE else (),
        )
        for (name, numbers), size, seed in itertools.product(wanted, sizes, study.grid.seed)
    ]


def run_number_cells(run: OpenStudy) -> None:
    """Run the cells without a network that the ledger lacks, here and one after the other: they take seconds.

    One that fails is recorded and told, and does not stop the networks.
    """
    cells = number_cells(run.plan.study, run.plan.study_data, control=run.setting.control)
    run.ledger.extend([(cell, 0.0) for cell in cells], role="numbers")
    done = {entry.key for entry in run.ledger.entries(role="numbers") if entry.state == "done"}
    wanted = [cell for cell in cells if cell.key not in done]
    if not wanted:
        return
    numbers = OpenNumbers(run.plan.study, run.setting.cache)
    with run.ledger.runner() as runner:
        for cell in run.watcher.measuring(wanted, len(wanted)):
            if not run.ledger.claim(cell.key, runner):
                continue
            try:
                run.ledger.add(cell.key, run_number_cell(cell, numbers, run.setting.out))
            except Exception as error:
                run.ledger.fail(cell.key, traceback.format_exc())
                which = f"the {cell.backbone} of {cell.train_size} images, seed {cell.seed}"
                run.watcher.warned(f"{which}, failed: {error}")


def is_table(entry: Entry) -> bool:
    """Whether an entry is a cell of the numbers that the study asks for, and not of the control."""
    return entry.cell.backbone == TABLE


class OpenNumbers:
    """The numbers of a study's objects; each kind is read or measured once."""

    def __init__(self, study: Study, cache: Path) -> None:
        data = study.data
        self._table, self._cache, self._skip_broken = data.table, cache, data.skip_broken
        self.sets = [read_cutouts(path) for path in (data.path, data.test_path) if path]
        self._known: dict[str, list[NumberTable]] = {}
        self._there: dict[str, list[np.ndarray]] = {}
        self._kinds: dict[str, dict[str, str]] = {}

    def objects(self, cell: Cell) -> CellObjects:
        """The objects of a cell."""
        first, *others = (OpenSet(each, self._store(each)) for each in self.sets)
        return cell_objects(cell, first, others[0] if others else None)

    def values(
        self, cell: Cell, objects: CellObjects
    ) -> tuple[dict[str, Float[np.ndarray, "object number"]], tuple[str, ...]]:
        """The numbers of a cell's objects, by part; and their names."""
        assert cell.numbers is not None
        key = cell.numbers.model_dump_json()
        if key not in self._known:
            self._known[key] = [self._read(cell.numbers, each, objects.pool) for each in self.sets]
        tables = self._known[key]
        place = {part: tables[self.sets.index(objects.sets[part].cutouts)] for part in PARTS}
        return {part: place[part].values[objects.rows[part]] for part in PARTS}, tables[0].names

    def known(self, cell: Cell) -> dict[str, Bool[np.ndarray, " object"]]:
        """By part, which of a cell's objects have numbers: those with one of the columns; empty where there are none.

        What is measured is there for every image.
        """
        assert cell.numbers is not None
        if not cell.numbers.columns:
            return {}
        objects, given = self.objects(cell), cell.numbers.model_copy(update={"measured": False})
        key = given.model_dump_json()
        if key not in self._there:
            tables = [self._read(given, each, objects.pool) for each in self.sets]
            self._there[key] = [np.isfinite(table.values).any(1) for table in tables]
        there = {part: self._there[key][self.sets.index(objects.sets[part].cutouts)] for part in PARTS}
        return {part: there[part][objects.rows[part]] for part in PARTS}

    def kinds(self, cell: Cell, objects: CellObjects) -> dict[str, str]:
        """How the columns of a cell are read, by name."""
        assert cell.numbers is not None
        return self._kinds_of(cell.numbers, objects.pool)

    def _kinds_of(self, numbers: Numbers, train: Int[np.ndarray, " object"]) -> dict[str, str]:
        """Of the training part, which all cells of a study share: all other objects are read in the same way."""
        key = numbers.model_dump_json()
        if key not in self._kinds:
            self._kinds[key] = column_kinds(numbers, self._table, self.sets[0], train) if numbers.columns else {}
        return self._kinds[key]

    def _read(self, numbers: Numbers, cutouts: Cutouts, train: Int[np.ndarray, " object"]) -> NumberTable:
        kinds = None if cutouts is self.sets[0] else self._kinds_of(numbers, train)
        store, cache = lambda: self._store(cutouts), self._cache
        return open_numbers(numbers, self._table, cutouts, store, cache, kinds=kinds, train=train)[0]

    def _store(self, cutouts: Cutouts) -> Store:
        return open_store(cutouts, self._cache, skip_broken=self._skip_broken)


def run_number_cell(cell: Cell, numbers: OpenNumbers, out: Path) -> Result:
    """Fit the models of a cell; leave the predictions and the numbers of the best one in the run folder."""
    watch = Stopwatch()
    objects = numbers.objects(cell)
    targets = objects.targets
    values, names = numbers.values(cell, objects)
    kinds = numbers.kinds(cell, objects)
    watch.lap("prepare")
    tried = {
        way: FITS[way](values["train"], targets["train"], len(objects.classes), cell.seed)
        for way in _models(cell, len(objects.classes))
    }
    losses = {
        way: log_loss_of(model.log_probabilities(values["validation"]), targets["validation"])
        for way, model in tried.items()
    }
    best = min(losses, key=lambda way: losses[way])
    watch.lap("train")
    log_p = {part: tried[best].log_probabilities(values[part]) for part in PARTS}
    ids, parts = objects.ids, dict(log_p)
    held_out = (
        None if cell.backbone == CONTROL else _out_of_fold(best, values["train"], targets["train"], objects, cell.seed)
    )
    if held_out is not None:
        ids[OUT_OF_FOLD], targets[OUT_OF_FOLD], parts[OUT_OF_FOLD] = ids["train"], targets["train"], held_out
    kept = {part: each.astype(np.float32) for part, each in parts.items() if part != "train"}
    save_predictions(out, cell, Predictions(objects.classes, ids, targets, kept))
    if cell.backbone == TABLE:  # a forest is large, and nobody asks for the control's
        save_number_model(out, cell, objects.classes, tried[best])
    watch.lap("score")
    scores = {part: all_scores(np.exp(log_p[part]), targets[part], objects.classes) for part in PARTS}
    return Result(
        key=cell.key,
        classes=objects.classes,
        scores=scores,
        curves=[],
        peak_epoch=0,
        peak_score=-losses[best],
        head=best,
        numbers=len(names),
        number_names=names,
        number_kinds=kinds,
        number_ranges=ranges_of(names, values["train"], kinds) or None,
        gap=scores["train"]["macro_f1"] - scores["validation"]["macro_f1"],
        lr=0.0,
        lr_trials=[],
        alarms=[],
        not_converged=(),
        blocks=0,
        parameters=0,
        trained_parameters=0,
        tpr=0.0,
        tlr=0.0,
        tfr=0.0,
        file_bytes=sum(each.nbytes for each in tried[best].to_arrays().values()),
        latency=None,
        seconds=watch.seconds(),
        peak_memory=peak_memory(),
        device="cpu",
        weights_sha256=None,
        versions={name: version_of(name) for name in ("skythaw", "numpy", "scikit-learn")},
    )


def _models(cell: Cell, classes: int) -> list[str]:
    """Which models of the numbers are tried."""
    if cell.backbone == CONTROL:
        return ["forest"]
    known = cell.number_models or ("boosting", "linear")
    return [name for name in known if name != "forest" or forest_fits(cell.train_size, classes)]


def _out_of_fold(
    way: str,
    values: Float[np.ndarray, "object number"],
    targets: Int[np.ndarray, " object"],
    objects: CellObjects,
    seed: int,
) -> Float[np.ndarray, "object class"] | None:
    """Log-probabilities of the training objects, each by a model fitted without it and its group of the sky."""
    folds = folds_of(targets, objects.groups, FOLDS)
    if folds is None:
        return None
    found = np.zeros((len(targets), len(objects.classes)))
    for rest, fold in folds:
        model = FITS[way](values[rest], targets[rest], len(objects.classes), seed)
        found[fold] = model.log_probabilities(values[fold])
    return found
