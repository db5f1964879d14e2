"""``lr = "auto"``: trials of learning rates on validation, for each setting, shared by its seeds. No torch.

Depth and learning rate are confounded: the rate that suits a head may wreck a whole network. A study that gives every
depth one rate compares rates, not depths.

Each rate trains the network for a short while, on the images of one seed; the smallest log loss on validation wins. If
that is the smallest or the largest rate, those beyond it are tried. So the rate follows from the setting alone, and
every seed of it finds the same.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from skythaw.spec import RATES, Cell
from skythaw.study.ledger_rows import Entry
from skythaw.study.plan import PlannedCell

SEED = 0
"""of the trials, whatever the seeds of the study"""
EPOCHS, STEPS = 5, (60, 300)
"""of a trial before its rate falls: so many epochs, but at least and at most so many steps; where there are many
images, a rate that is too high still leads after one or two epochs"""
SLOWEST, FASTEST = 1e-6, 1e-1
"""between which rates are tried"""


@dataclass(frozen=True)
class SettledRate:
    """The learning rate of a cell."""

    lr: float
    trials: tuple[dict[str, float | None], ...] = ()
    """``lr`` and ``score`` (minus the smallest log loss on validation; None where training diverged at once) of each
    rate that was tried, from the smallest; none where the rate was given"""
    doubts: tuple[str, ...] = ()
    """why it may not be the best"""


def given_rate(cell: Cell) -> SettledRate:
    """The rate of a cell that says one."""
    assert cell.recipe.lr != "auto"  # trials settle that
    return SettledRate(float(cell.recipe.lr))


def setting_of(cell: Cell) -> str:
    """Cells of one setting share their trials: all but the seed is the same."""
    return cell.model_dump_json(exclude={"seed"})


def trial_of(cell: Cell, rate: float) -> Cell:
    """The trial of a rate."""
    seen = EPOCHS * math.ceil(cell.train_size / cell.recipe.batch)
    most = min(cell.recipe.most_steps(cell.train_size), max(STEPS[0], min(STEPS[1], seen)))
    recipe = cell.recipe.model_copy(update={"lr": rate, "epochs": "auto", "max_steps": most})
    return Cell.model_validate({**cell.model_dump(), "seed": SEED, "recipe": recipe.model_dump()})


def next_rates(scores: Mapping[float, float]) -> tuple[float, ...]:
    """The rates to be tried next, given what the others scored; none where the best is known."""
    if not scores:
        return RATES
    if all(math.isinf(score) for score in scores.values()):
        return ()
    best, low, high = _winner(scores), min(scores), max(scores)
    if best == low and low > SLOWEST:
        return (_beside(low, -1),)
    if best == high and high < FASTEST:
        return (_beside(high, 1),)
    return ()


def slower_rates(cell: Cell, rate: float) -> tuple[float, ...]:
    """The rates for a cell whose training stumbles at the one of its trials; none where the cell says its rate."""
    return (_beside(rate, -1), _beside(rate, -2)) if cell.recipe.lr == "auto" else ()


def _winner(scores: Mapping[float, float]) -> float:
    """The rate with the best score; the smaller on a tie."""
    return max(sorted(scores), key=lambda rate: scores[rate])


def first_trials(cells: Iterable[PlannedCell]) -> list[PlannedCell]:
    """The trials that some cells begin with."""
    settings = {setting_of(p.cell): p for p in cells if p.cell.recipe.lr == "auto"}
    return [replace(p, cell=trial_of(p.cell, rate)) for p in settings.values() for rate in RATES]


@dataclass(frozen=True)
class RateTrials:
    """The trials of one setting, as far as they have come."""

    scores: dict[float, float]
    """of each rate that was tried"""
    wanted: tuple[Cell, ...]
    """the trials that are to be run next; none where the best is known"""

    @classmethod
    def follow(cls, cell: Cell, trials: Mapping[str, Entry], lost: Container[str] = ()) -> RateTrials:
        """Go through the trials of a setting, as far as they are run.

        Parameters
        ----------
        cell
            any of the setting
        trials
            what the ledger has of trials, by their keys
        lost
            keys of trials that failed, and are not to be tried again
        """
        scores: dict[float, float] = {}
        while rates := next_rates(scores):
            cells = {rate: trial_of(cell, rate) for rate in rates}
            waiting = tuple(c for c in cells.values() if c.key not in lost and not _done(trials.get(c.key)))
            if waiting:
                return cls(scores, waiting)
            scores |= {rate: _score(trials.get(c.key)) for rate, c in cells.items()}
        return cls(scores, ())

    def settled(self) -> SettledRate:
        """What the trials gave, if none is wanted."""
        scores, best = self.scores, _winner(self.scores)
        trials = tuple({"lr": r, "score": scores[r] if math.isfinite(scores[r]) else None} for r in sorted(scores))
        at_edge = best in (min(scores), max(scores))
        doubts = (f"its learning rate, {best:g}, is at the edge of those tried",) if at_edge else ()
        return SettledRate(best, trials, doubts)


def settled_by(trials: Iterable[Mapping[str, float | None]]) -> SettledRate:
    """What trials gave that a finished cell names: see `SettledRate.trials`."""
    scores = {float(each["lr"] or 0): -math.inf if (score := each["score"]) is None else score for each in trials}
    return RateTrials(scores, ()).settled()


def _done(entry: Entry | None) -> bool:
    return entry is not None and entry.state == "done"


def _score(entry: Entry | None) -> float:
    """Minus the smallest log loss on validation in a trial; minus infinity where there is none."""
    losses = [each["log_loss"] for each in entry.result.curves] if entry and entry.result else []
    return -min(losses, default=math.inf)


def _beside(rate: float, places: int) -> float:
    """A rate half a decade away, as people write it: 1e-3, 3e-3, 1e-2."""
    halves = round(2 * math.log10(rate)) + places
    return float(f"{(1, 3)[halves % 2]}e{halves // 2}")
