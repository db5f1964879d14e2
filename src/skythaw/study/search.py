"""The best depth at a fraction of the cost: successive halving over the settings of a study.

All settings begin with few images and few epochs; the better half goes on with more, and the last with all. Training
sets are nested, so what one rung kept of the frozen part serves the next. Settings are compared on the same validation
objects; the test set is scored in the last rung alone. Where the last ones can't be told apart, the one with the best
score is trained, not all. Successive halving: Jamieson & Talwalkar, arXiv 1502.07943.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from skythaw.errors import DataError
from skythaw.spec import Cell, Study
from skythaw.study.machine import find_device
from skythaw.study.outputs import read_predictions
from skythaw.study.paired import as_indices, behind, bootstrap_macro_f1, draws
from skythaw.study.plan import PlannedCell, plan_trials
from skythaw.study.run import Run, Setting, Watcher, execute, opened

SURVIVE = 0.5
"""share of the settings that goes on, at most"""
LEVEL = 0.9
"""confidence of the intervals that decide what is surely worse"""
DRAWS = 1000

Contest = tuple[str, str, int]
"""backbone, strategy, training size: settings of one contest compete with each other"""


@dataclass(frozen=True)
class Rung:
    """How much of the training images and of the epochs a setting gets."""

    images: float
    epochs: float


RUNGS = (Rung(1 / 4, 1 / 5), Rung(1 / 2, 3 / 10), Rung(1, 1))


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
    epochs: int
    score: float | None
    """mean macro-F1 on validation over seeds; None where a cell failed"""
    behind: tuple[float, float] | None
    """interval of how far it is behind the best of the rung"""
    fate: str
    """``goes on``, ``surely worse``, ``in the lower half``, ``not told apart from the best``, ``failed``, ``best``"""


@dataclass(frozen=True)
class Candidate:
    """A setting: the cells that differ by their seed alone."""

    name: str
    cells: tuple[PlannedCell, ...]


def search(study: Study, setting: Setting, watcher: Watcher | None = None) -> list[Standing]:
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
    plan_of_search = {"rungs": [asdict(rung) for rung in RUNGS], "survive": SURVIVE, "level": LEVEL}
    with opened(study, setting, watcher or Watcher(), plan_of_search) as run:
        contests = _contests(run.plan.cells, list(study.grid.axes))
        standings: list[Standing] = []
        for number, rung in enumerate(RUNGS):
            last = number == len(RUNGS) - 1
            lent = _lent_workers(contests, run) if last else 1
            tried = {c: [_shrunk(each, rung, run, lent) for each in some] for c, some in contests.items()}
            cells = [cell for some in tried.values() for candidate in some for cell in candidate.cells]
            budget = setting.cache_size if lent == 1 else 0  # one pass of several workers would have too many threads
            plan = plan_trials(run.plan, cells, setting.cache, budget, trial=not last)
            execute(run, plan, trial=not last)
            for contest, candidates in tried.items():
                found = _judge(contest, candidates, number, run, next_is_last=number == len(RUNGS) - 2, last=last)
                standings += found
                going = {each.setting for each in found if each.fate in ("goes on", "best")}
                contests[contest] = [each for each in contests[contest] if each.name in going]
            run.ledger.note("search", [asdict(each) for each in standings])
    return standings


def _contests(cells: Iterable[PlannedCell], axes: Sequence[str]) -> dict[Contest, list[Candidate]]:
    groups: dict[Contest, dict[str, list[PlannedCell]]] = defaultdict(lambda: defaultdict(list))
    for planned in cells:
        cell = planned.cell
        settings = {**cell.pixels.model_dump(), **cell.recipe.model_dump()}
        name = ", ".join([f"depth {cell.depth}", *(f"{axis} {settings[axis]}" for axis in axes)])
        groups[cell.backbone, cell.strategy, cell.train_size][name].append(planned)
    return {
        contest: [Candidate(name, tuple(some)) for name, some in settings.items()]
        for contest, settings in groups.items()
    }


def _lent_workers(contests: dict[Contest, list[Candidate]], run: Run) -> int:
    """How many workers' threads each cell of the last rung gets: few cells would leave workers idle.

    Threads decide a cell's last bits, so what was decided once holds for the folder.
    """
    lent: int | None = run.ledger.remark("lent_workers")
    if lent is None:
        cells = sum(len(candidate.cells) for some in contests.values() for candidate in some)
        lent = max(1, run.engine.workers // cells) if find_device(run.setting.device).type == "cpu" else 1
        run.ledger.note("lent_workers", lent)
    return lent


def _shrunk(candidate: Candidate, rung: Rung, run: Run, lent: int) -> Candidate:
    """The candidate as it is tried in a rung, each cell with the threads of so many workers."""
    smallest = run.plan.material.smallest_train_size

    def smaller(cell: Cell) -> Cell:
        images = min(cell.train_size, max(math.ceil(rung.images * cell.train_size), smallest))
        recipe = cell.recipe.model_copy(
            update={"epochs": max(1, round(rung.epochs * cell.recipe.epochs)), "threads": lent * cell.recipe.threads}
        )
        return cell.model_copy(update={"train_size": images, "recipe": recipe})

    cells = tuple(replace(planned, cell=_fresh(smaller(planned.cell))) for planned in candidate.cells)
    return replace(candidate, cells=cells)


def _fresh(cell: Cell) -> Cell:
    """A copy that computes its own key: the one it was copied from may have kept its."""
    return Cell.model_validate(cell.model_dump())


def _judge(
    contest: Contest, candidates: list[Candidate], number: int, run: Run, *, next_is_last: bool, last: bool
) -> list[Standing]:
    """How the candidates of a contest did, and which go on."""
    results = {entry.key: entry for entry in run.ledger.entries()}
    whole = [c for c in candidates if all(results[p.cell.key].state == "done" for p in c.cells)]
    if not whole:
        backbone, strategy, size = contest
        raise DataError(
            f"every cell of {backbone}, {strategy}, {size} images failed; why: skythaw study status {run.setting.out}"
        )
    scores, drawn = _scores(whole, run)
    best = int(scores.argmax())
    low, high = behind(drawn, best, LEVEL)
    fates = ["best" if last and i == best else "goes on" for i in range(len(whole))]
    if not last:
        order = np.argsort(-scores, kind="stable").tolist()
        for place, i in enumerate(order):
            if low[i] > 0:
                fates[i] = "surely worse"
            elif place >= max(1, math.ceil(SURVIVE * len(whole))):
                fates[i] = "in the lower half"
        going = [i for i, fate in enumerate(fates) if fate == "goes on" and i != best]
        if next_is_last and all(low[i] <= 0 for i in going):
            for i in going:
                fates[i] = "not told apart from the best"
    standings = {
        c.name: _standing(contest, c, number, float(scores[i]), (float(low[i]), float(high[i])), fates[i])
        for i, c in enumerate(whole)
    }
    failed = {c.name: _standing(contest, c, number, None, None, "failed") for c in candidates if c not in whole}
    return [{**standings, **failed}[c.name] for c in candidates]


def _scores(candidates: list[Candidate], run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Macro-F1 on validation, mean over seeds: of each candidate, and of each in each bootstrap draw."""
    classes, folder = run.plan.classes, run.setting.out
    scores, drawn = [], []
    weights = None
    for candidate in candidates:
        read = [read_predictions(folder, planned.cell.key, "validation") for planned in candidate.cells]
        true = as_indices([read[0][0]], classes)[0]
        predicted = as_indices([said for _, said in read], classes)
        if weights is None:
            weights = draws(len(true), DRAWS, seed=0)
        scores.append(bootstrap_macro_f1(true, predicted, np.ones((1, len(true)))).mean())
        drawn.append(bootstrap_macro_f1(true, predicted, weights).mean(0))
    return np.array(scores), np.stack(drawn)


def _standing(
    contest: Contest,
    candidate: Candidate,
    number: int,
    score: float | None,
    interval: tuple[float, float] | None,
    fate: str,
) -> Standing:
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
        score=score,
        behind=interval,
        fate=fate,
    )
