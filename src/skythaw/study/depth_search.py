"""The best depth at a fraction of the cost: successive halving over the settings of a study.

All settings begin with half of the images and few epochs; of many the better half goes on to a second trial; the best
one is trained in full. Training sets are nested, so what one rung kept of the frozen part serves the next. Settings
are compared on the same validation objects, by log loss, which tells more of so short a training than macro-F1 does;
the test set is scored in the last rung alone. Successive halving: Jamieson & Talwalkar, arXiv 1502.07943.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np

from skythaw.errors import DataError, LedgerError
from skythaw.spec import Cell, Recipe, Study
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.cell_predictions import predictions_path
from skythaw.stats.intervals import limits
from skythaw.stats.scored_sample import read_sample
from skythaw.study.execute import execute
from skythaw.study.open_study import OpenStudy, RunSettings, Watcher
from skythaw.study.plan import PlannedCell, plan_trials
from skythaw.study.run_study import opened
from skythaw.tuning.training_pace import FEWEST

SURVIVE = 0.5
"""share of the settings that goes on, at most"""
LEVEL = 0.9
"""confidence of the intervals that decide what is worse in a trial"""
DRAWS = 1000
LARGEST_LOSS = -math.log(1e-7)
"""of one object: one whose class got a smaller probability counts as if it had got 1e-7"""

ContestKey = tuple[str, str, int]
"""backbone, strategy, training size: settings of one contest compete with each other"""


@dataclass(frozen=True)
class Rung:
    """How much of the training images and of the epochs a setting gets."""

    images: float
    epochs: float


RUNGS = (Rung(1 / 2, 1 / 5), Rung(1, 3 / 10), Rung(1, 1))
"""In fewer steps than the first allows, deep tuning has not begun: docs/performance.md"""
MANY = 8
"""settings of a contest; if no contest has more, the second rung is left out"""


@dataclass(frozen=True)
class Standing:
    """How one setting did in one rung."""

    backbone: str
    strategy: str
    train_size: int
    """of the study, not of the rung"""
    setting: str
    """what distinguishes it from the others: its depth, and further axes"""
    depth: int
    rung: int
    images: int
    epochs: int | Literal["auto"]
    log_loss: float | None
    """on validation, every class of the same weight, mean over seeds: what decides; None where a cell failed"""
    macro_f1: float | None
    """on validation, mean over seeds"""
    behind: tuple[float, float] | None
    """interval of how much larger its log loss is than the best of the rung"""
    fate: str
    """``goes on``, ``best``, ``failed``, ``worse in the trial``, ``in the lower half``, or ``not told apart from the
    best``"""


@dataclass(frozen=True)
class TrialSetting:
    """A setting: the cells that differ by their seed alone."""

    name: str
    cells: tuple[PlannedCell, ...]


def search(study: Study, setting: RunSettings, watcher: Watcher | None = None) -> list[Standing]:
    """Search for the best depth of each backbone, strategy and training size of a study, and train it.

    Stop it at any time; the same call goes on.

    Returns
    -------
    list of Standing
        of every setting in every rung it was in; also kept in the ledger, as ``search``

    Raises
    ------
    SkythawError
        The study can't be run, the folder holds something else, or every setting of a contest failed.
    """
    plan_of_search = {"rungs": [asdict(rung) for rung in RUNGS], "many": MANY, "survive": SURVIVE, "level": LEVEL}
    with opened(study, setting, watcher or Watcher(), plan_of_search) as run:
        contests = _contests(run.plan.cells, list(study.grid.axes))
        standings: list[Standing] = []
        rungs = RUNGS if max(map(len, contests.values())) > MANY else (RUNGS[0], RUNGS[-1])
        for number, rung in enumerate(rungs):
            last = number == len(rungs) - 1
            lent = _lent_workers(contests, run) if last else 1
            tried = {c: [_shrunk(each, rung, run, lent) for each in some] for c, some in contests.items()}
            cells = [cell for some in tried.values() for candidate in some for cell in candidate.cells]
            budget = setting.cache_size if lent == 1 else 0  # one pass of several workers would have too many threads
            plan = plan_trials(run.plan, cells, setting.cache, budget, trial=not last)
            execute(run, plan, trial=not last)
            for contest, candidates in tried.items():
                found = _judge(contest, candidates, number, run, next_is_last=number == len(rungs) - 2, last=last)
                standings += found
                going = {each.setting for each in found if each.fate in ("goes on", "best")}
                contests[contest] = [each for each in contests[contest] if each.name in going]
            run.ledger.note("search", [asdict(each) for each in standings])
    return standings


def _contests(cells: Iterable[PlannedCell], axes: Sequence[str]) -> dict[ContestKey, list[TrialSetting]]:
    groups: dict[ContestKey, dict[str, list[PlannedCell]]] = defaultdict(lambda: defaultdict(list))
    for planned in cells:
        cell = planned.cell
        name = ", ".join([f"depth {cell.depth}", *(f"{axis} {cell.setting(axis)}" for axis in axes)])
        groups[cell.backbone, cell.strategy, cell.train_size][name].append(planned)
    return {
        contest: [TrialSetting(name, tuple(some)) for name, some in settings.items()]
        for contest, settings in groups.items()
    }


def _lent_workers(contests: dict[ContestKey, list[TrialSetting]], run: OpenStudy) -> int:
    """How many workers' threads each cell of the last rung gets: few cells would leave workers idle.

    Threads decide a cell's last bits, so what was decided once holds for the folder. Nothing is lent on a cluster: its
    CPUs are not all on one node.
    """
    lent: int | None = run.ledger.remark("lent_workers")
    if lent is None:
        cells = sum(len(candidate.cells) for some in contests.values() for candidate in some)
        lends = run.setting.device_kind == "cpu" and not run.engine.cluster
        lent = max(1, run.engine.workers // cells) if lends else 1
        run.ledger.note("lent_workers", lent)
    return lent


def _shrunk(candidate: TrialSetting, rung: Rung, run: OpenStudy, lent: int) -> TrialSetting:
    """The candidate as it is tried in a rung, each cell with the threads of so many workers."""
    smallest = run.plan.study_data.smallest_train_size

    def smaller(cell: Cell) -> Cell:
        images = min(cell.train_size, max(math.ceil(rung.images * cell.train_size), smallest))
        recipe = cell.recipe.model_copy(update={**_shorter(cell.recipe, rung), "threads": lent * cell.recipe.threads})
        return cell.model_copy(update={"train_size": images, "recipe": recipe})

    cells = tuple(replace(planned, cell=_fresh(smaller(planned.cell))) for planned in candidate.cells)
    return replace(candidate, cells=cells)


def _shorter(recipe: Recipe, rung: Rung) -> dict[str, int]:
    if recipe.epochs == "auto":
        return {} if rung.epochs == 1 else {"max_steps": min(FEWEST, recipe.max_steps)}
    return {"epochs": max(1, round(rung.epochs * recipe.epochs))}


def _fresh(cell: Cell) -> Cell:
    """A copy that computes its own key: the one it was copied from may have kept its."""
    return Cell.model_validate(cell.model_dump())


def _judge(
    contest: ContestKey, candidates: list[TrialSetting], number: int, run: OpenStudy, *, next_is_last: bool, last: bool
) -> list[Standing]:
    """How the candidates of a contest did, and which go on."""
    results = {entry.key: entry for entry in run.ledger.entries()}
    whole = [c for c in candidates if all(results[p.cell.key].state == "done" for p in c.cells)]
    if not whole:
        backbone, strategy, size = contest
        raise DataError(
            f"every cell of {backbone}, {strategy}, {size} images failed; why: skythaw study status {run.setting.out}"
        )
    drawn, scores = _scores(whole, run)
    losses = drawn[:, 0]
    low, high = np.transpose([limits(each - drawn[losses.argmin()], LEVEL) for each in drawn])
    fates = ["best"] if last else _fates(losses, low, most=1 if next_is_last else math.ceil(SURVIVE * len(whole)))
    standings = {
        c.name: replace(
            _standing(contest, c, number, fates[i]),
            log_loss=float(losses[i]),
            macro_f1=float(scores[i]),
            behind=(float(low[i]), float(high[i])),
        )
        for i, c in enumerate(whole)
    }
    failed = {c.name: _standing(contest, c, number, "failed") for c in candidates if c not in whole}
    return [{**standings, **failed}[c.name] for c in candidates]


def _fates(losses: np.ndarray, low: np.ndarray, most: int) -> list[str]:
    """Which candidates go on, `most` at most; `low` is how far each is surely behind the best."""
    order = np.argsort(losses, kind="stable")
    out = "not told apart from the best" if most == 1 else "in the lower half"
    fates = ["goes on"] * len(losses)
    for place, i in enumerate(order.tolist()):
        if low[i] > 0:
            fates[i] = "worse in the trial"
        elif place >= most:
            fates[i] = out
    return fates


def _scores(candidates: list[TrialSetting], run: OpenStudy) -> tuple[np.ndarray, np.ndarray]:
    """Means over seeds, on validation: log loss in every draw of the sky [candidate, draw], macro-F1 [candidate]."""
    keys = [[planned.cell.key for planned in candidate.cells] for candidate in candidates]
    every = [key for some in keys for key in some]
    sample = read_sample(run.setting.out, "validation", run.plan.classes, every)
    if sample is None or sample.missing:
        gone = predictions_path(run.setting.out, sample.missing[0] if sample else every[0])
        raise LedgerError(f"can't read the predictions {gone}: give the search a new folder")
    bootstrap = Bootstrap(sample, DRAWS)
    losses = [np.mean([np.minimum(sample.loss[key], LARGEST_LOSS) for key in some], axis=0) for some in keys]
    scores = [bootstrap.scores(some)["macro_f1"][:, 0].mean() for some in keys]
    return bootstrap.balanced_log_loss(losses), np.array(scores)


def _standing(contest: ContestKey, candidate: TrialSetting, number: int, fate: str) -> Standing:
    backbone, strategy, size = contest
    cell = candidate.cells[0].cell
    return Standing(
        backbone=backbone,
        strategy=strategy,
        train_size=size,
        setting=candidate.name,
        depth=cell.depth,
        rung=number,
        images=cell.train_size,
        epochs=cell.recipe.epochs,
        log_loss=None,
        macro_f1=None,
        behind=None,
        fate=fate,
    )
