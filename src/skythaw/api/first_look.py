"""Which network, which crop and which size: tried quickly, on a part of the images, before a study of depth begins.

First every candidate is judged as a frozen network, which takes one pass over the images. Then the best few are trained
for a short while at half their depth, and the best of these on validation is taken. How long that took tells how fast
this machine is. No object of the test part is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skythaw.api.time_budget import TimeBudget, TimeIsUp, stopping_after
from skythaw.spec import Study
from skythaw.study.execute import run_trials
from skythaw.study.ledger import Ledger
from skythaw.study.machine_speed import MachineSpeed
from skythaw.study.open_study import OpenStudy, RunSettings, Watcher
from skythaw.study.plan import PlannedCell, plan_trials
from skythaw.study.run_study import opened

IMAGES_TRIED = 1000
"""training images that candidates are tried on"""
STEPS, FEW_STEPS = 60, 20
"""of a short training, before its rate falls: of one that is judged, and of one that measures the machine alone"""
SIZES = (64, 96)
"""pixels that a network gets: small ones are quick, and pretrained networks see small things better enlarged"""
SHARES, SMALLEST_CROP = (1, 0.5, 0.375, 0.25), 24
"""crops, as shares of a cutout's side; and pixels, at least"""
SHARE_FROZEN, SHARE_TRAINED, SHARE = 0.08, 0.12, 0.3
"""of the budget, for either round as it is expected to go, and at most for both as they go"""
MOST_TRAINED = 4
RATE = 1e-3


@dataclass(frozen=True)
class TriedInput:
    """A network and what it is given, and how well it did on validation."""

    backbone: str
    crop: int
    size: int
    frozen: float | None = None
    """log loss of the frozen network; None where it was not tried"""
    trained: float | None = None
    """log loss after a short training"""

    @property
    def named(self) -> str:
        """In words."""
        return f"{self.backbone}, the central {self.crop} pixels at {self.size} x {self.size}"


CellPairs = dict[TriedInput, dict[bool, PlannedCell]]
"""Of each candidate the frozen cell (False) and the trained one."""


def first_candidates(networks: Sequence[str], side: int) -> list[TriedInput]:
    """What is worth a try for cutouts of so many pixels, the likeliest first."""
    crops = sorted({min(side, max(SMALLEST_CROP, round(side * share))) for share in SHARES})
    pairs = [(crop, size) for size in SIZES for crop in crops if size <= 4 * crop]
    pairs.sort(key=lambda pair: (pair[1], abs(pair[0] - side / 2)))
    return [TriedInput(name, crop, size) for crop, size in pairs for name in networks] or [
        TriedInput(name, side, SIZES[0]) for name in networks
    ]


def study_of(base: dict[str, Any], candidate: TriedInput) -> Study:
    """The study of a candidate."""
    data = {**base["data"], "crop": candidate.crop, "size": candidate.size}
    weights = {n: w for n, w in base.get("weights", {}).items() if n == candidate.backbone}
    grid = {**base.get("grid", {}), "backbone": [candidate.backbone]}
    return Study.parse({**base, "data": data, "grid": grid, "weights": weights})


def look(base: dict[str, Any], candidates: Sequence[TriedInput], affordable: Sequence[TriedInput],
         setting: RunSettings, budget: TimeBudget, watcher: Watcher) -> list[TriedInput]:  # fmt: skip
    """Try candidates, as many as the budget bears.

    Parameters
    ----------
    base
        content of a study file: its data without crop and size, and weights
    candidates
        from `first_candidates`: all of them, whatever can be afforded, so that a later call finds the same study here
    affordable
        those of them that are worth a try
    setting
        where to run
    budget
        of all of `tune`; a share of it is used here
    watcher
        told what happens

    Returns
    -------
    list of TriedInput
        the best first; those that were not tried are last, in their order
    """
    study = _look_study(base, candidates)
    with suppress(TimeIsUp), stopping_after(SHARE * budget.seconds), opened(study, setting, watcher) as run:
        cells = _cells(run, affordable)
        some = _affordable(run, cells, SHARE_FROZEN * budget.seconds)
        watcher.step(f"trying {len(some)} choices of network, crop and size on some of the images")
        if len(some) > 1:
            _try(run, [cells[each][False] for each in some])
            some = judged(setting.out, some)
        _train(run, cells, some, SHARE_TRAINED * budget.seconds)
    return judged(setting.out, affordable)


def judged(run: Path, candidates: Sequence[TriedInput]) -> list[TriedInput]:
    """What was tried in a run folder, the best first: what was trained, then what was judged frozen, then others."""
    if not (run / "ledger.sqlite").is_file():
        return list(candidates)
    losses: dict[tuple[str, int, int, bool], float] = {}
    with Ledger.read(run) as ledger:
        for entry in ledger.entries("trial"):
            cell, trained = entry.cell, entry.cell.depth > 0
            if entry.result and (not trained or cell.recipe.max_steps == STEPS):
                loss = float(entry.result.scores["validation"]["log_loss"])
                losses[cell.backbone, cell.pixels.crop, cell.pixels.size, trained] = loss

    def with_losses(each: TriedInput) -> TriedInput:
        frozen, trained = (losses.get((each.backbone, each.crop, each.size, deep)) for deep in (False, True))
        return replace(each, frozen=frozen, trained=trained)

    def rank(each: TriedInput) -> tuple[bool, float, bool, float]:
        return each.trained is None, each.trained or 0.0, each.frozen is None, each.frozen or 0.0

    return sorted(map(with_losses, candidates), key=rank)


def _look_study(base: dict[str, Any], candidates: Sequence[TriedInput]) -> Study:
    grid = {
        "backbone": list(dict.fromkeys(each.backbone for each in candidates)),
        "crop": list(dict.fromkeys(each.crop for each in candidates)),
        "size": list(dict.fromkeys(each.size for each in candidates)),
        "depth": ["0%", "50%"],
        "seed": [0],
    }
    data = {k: v for k, v in base["data"].items() if k not in ("columns", "table")}
    return Study.parse({**base, "data": data, "grid": grid, "recipe": {"lr": RATE}})


def _cells(run: OpenStudy, candidates: Sequence[TriedInput]) -> CellPairs:
    """Of each candidate the frozen cell and the trained one, on a part of the images."""
    data = run.plan.study_data
    size = min(data.objects["train"], max(IMAGES_TRIED, data.smallest_train_size))
    found: CellPairs = {}
    for planned in run.plan.cells:
        cell = planned.cell
        key = TriedInput(cell.backbone, cell.pixels.crop, cell.pixels.size)
        recipe = cell.recipe.model_copy(update={"views": 1 if cell.depth == 0 else cell.recipe.views})
        smaller = cell.model_copy(update={"train_size": size, "recipe": recipe})
        found.setdefault(key, {})[cell.depth > 0] = replace(
            planned, cell=type(cell).model_validate(smaller.model_dump())
        )
    return {each: found[each] for each in candidates if each in found}


def _affordable(run: OpenStudy, cells: CellPairs, seconds: float) -> list[TriedInput]:
    """The first candidates, whose passes over the images fit into the time; at least one."""
    pace, workers, images = MachineSpeed(run.setting.cache), run.setting.workers or 1, run.plan.objects
    spent, found = 0.0, list[TriedInput]()
    for each, pair in cells.items():
        planned = pair[False]
        spent += (
            sum(planned.flops) * (planned.cell.train_size + images["validation"]) / pace.rate(planned.cell) / workers
        )
        if found and spent > seconds:
            break
        found.append(each)
    return found


def _train(run: OpenStudy, cells: CellPairs, some: Sequence[TriedInput], seconds: float) -> None:
    """Train the best few for a short while, if there is time for two; one is trained to measure the machine."""
    pairs = {each: cells[TriedInput(each.backbone, each.crop, each.size)][True] for each in some}
    first = pairs[some[0]]
    if not MachineSpeed(run.setting.cache).measured(first.cell):
        _try(run, [_for_steps(first, FEW_STEPS)])
    pace, workers = MachineSpeed(run.setting.cache), run.setting.workers or 1
    longer = [_for_steps(planned, STEPS) for planned in pairs.values()]
    spent, chosen = 0.0, list[PlannedCell]()
    for planned, priced in zip(longer, _priced(run, longer), strict=True):
        spent += priced.cost / pace.rate(planned.cell) / workers
        if spent > seconds or len(chosen) == MOST_TRAINED:
            break
        chosen.append(planned)
    if len(chosen) > 1:
        _try(run, chosen)


def _priced(run: OpenStudy, cells: Iterable[PlannedCell]) -> Sequence[PlannedCell]:
    return plan_trials(run.plan, cells, run.setting.cache, run.setting.cache_size, trial=True).cells


def _for_steps(planned: PlannedCell, steps: int) -> PlannedCell:
    cell = planned.cell
    recipe = cell.recipe.model_copy(update={"max_steps": steps})
    return replace(planned, cell=cell.model_copy(update={"recipe": recipe}))


def _try(run: OpenStudy, cells: Sequence[PlannedCell]) -> None:
    """Run trials, which are scored on validation alone."""
    run_trials(run, cells, "trial")
