"""Studies of depth from the richest to the poorest, what each would take here, and the richest that fits a budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from skythaw.spec import IMAGES, Study
from skythaw.study.machine_speed import MachineSpeed
from skythaw.study.plan import Plan, PlannedCell, make_plan, plan_trials
from skythaw.study.rate_trials import trial_of
from skythaw.tuning.frozen.reuse_plan import BUDGET

FIVE, THREE, TWO = ("0%", "25%", "50%", "75%", "100%"), ("0%", "50%", "100%"), ("0%", "50%")
TRIALS = 3.6
"""of learning rates for a setting, on average: three, and more where the best is at an edge"""
CAREFUL = 1.2
"""what a search takes, of what its cells take one by one: workers wait for each other at the end of a round"""
FURTHER = 0.8
"""share of the cells of further seeds that a search trains: it drops what is surely worse"""
SEEN = 16
"""images that are trained on for each step: each is then seen at least four times in a batch of 64"""


@dataclass(frozen=True)
class Rung:
    """How much of a study there is."""

    depths: tuple[int | str, ...]
    seeds: int
    max_steps: int
    """of a training before its learning rate falls"""
    lr: float | str = "auto"


LADDER = (
    Rung(FIVE, 3, 4000),
    Rung(FIVE, 3, 1000),
    Rung(FIVE, 3, 500),
    Rung(THREE, 3, 1000),
    Rung(THREE, 3, 500),
    Rung(THREE, 3, 500, 1e-3),
    Rung(THREE, 3, 250, 1e-3),
    Rung(TWO, 3, 250, 1e-3),
    Rung(TWO, 2, 250, 1e-3),
    Rung(TWO, 1, 250, 1e-3),
    Rung(TWO, 1, 120, 1e-3),
)
"""Seeds are given up before steps: of a training that is cut short nothing can be said, however many there are."""


GOOD, LEAST = LADDER[5], LADDER[-1]
"""what a network should be cheap enough for, and what there must be time for"""


@dataclass(frozen=True)
class FittingStudy:
    """A study, and the seconds that it is expected to take."""

    study: Study
    seconds: float
    rung: Rung

    @property
    def told(self) -> str:
        """How much of a study it is, and how long it is expected to take.

        Examples
        --------
        >>> FittingStudy(None, 130.0, LADDER[-2]).told
        'planned for this budget: 2 depths, 1 seed, one learning rate; about 2 min'
        """
        seeds = f"{self.rung.seeds} seed{'s' if self.rung.seeds > 1 else ''}"
        rates = "several learning rates" if self.rung.lr == "auto" else "one learning rate"
        time = f"{self.seconds / 60:.0f} min" if self.seconds >= 90 else f"{self.seconds:.0f} s"
        return f"planned for this budget: {len(self.rung.depths)} depths, {seeds}, {rates}; about {time}"


def richest_study(
    base: Study, seconds: float, cache: Path, workers: int, rungs: Sequence[Rung] | None = None
) -> FittingStudy | None:
    """The richest study that fits into so many seconds; None where not even the poorest does.

    Parameters
    ----------
    base
        its data, network and crop; depths, seeds and recipe are chosen here
    seconds
        that there are
    cache
        the cache folder, which knows how fast this machine is
    workers
        cells at a time
    rungs
        the richest first; by default all
    """
    studies = (study_on(base, rung, cache, workers) for rung in (LADDER if rungs is None else rungs))
    return next((each for each in studies if each.seconds <= seconds), None)


def study_on(base: Study, rung: Rung, cache: Path, workers: int) -> FittingStudy:
    """The study of a rung, and what it takes."""
    recipe = base.recipe.model_copy(update={"max_steps": rung.max_steps, "lr": rung.lr})
    grid = {**base.grid.model_dump(), "depth": rung.depths, "seed": tuple(range(rung.seeds)), "train_size": ("all",)}
    study = base.model_copy(update={"recipe": recipe, "grid": base.grid.model_validate(grid)})
    plan = make_plan(study, cache)
    most = SEEN * rung.max_steps
    if plan.objects["train"] > most:
        grid["train_size"] = (max(most, plan.study_data.smallest_train_size),)
        study = study.model_copy(update={"grid": base.grid.model_validate(grid)})
        plan = make_plan(study, cache)
    return FittingStudy(study, expected_seconds(plan, cache, workers), rung)


def expected_seconds(plan: Plan, cache: Path, workers: int) -> float:
    """What a search over a study takes here, as far as cells took on this machine before."""
    pace = MachineSpeed(cache)
    settings: dict[str, list[PlannedCell]] = defaultdict(list)
    for planned in plan.cells:
        if planned.cell.inputs == IMAGES:
            settings[planned.cell.model_dump_json(exclude={"seed"})].append(planned)
    firsts = [some[0] for some in settings.values()]
    trials = [replace(p, cell=trial_of(p.cell, 1e-3)) for p in firsts]
    priced = plan_trials(plan, {p.cell.key: p for p in trials}.values(), cache, BUDGET, trial=True).cells
    times = TRIALS if plan.study.recipe.lr == "auto" else 1.0
    work = [(p, times * p.cost) for p in priced] + [(p, p.cost) for p in firsts]
    work += [(p, FURTHER * p.cost) for some in settings.values() for p in some[1:]]
    cells = sum(flops / pace.rate(p.cell) for p, flops in work)
    passes = sum(reuse.flops / pace.rate(reuse.uses[0].cell) for reuse in plan.reuse)
    rounds = 2 if len(plan.study.grid.seed) > 1 else 1
    longest = max(p.cost / pace.rate(p.cell) for p in firsts)  # a round ends with its longest cell
    return max(CAREFUL * (cells + passes) / workers, rounds * longest + passes / workers)
