"""``study run --race``: depths that can no longer be the best get no further seeds. No torch.

All depths are trained with the first seed and the second, then all that are left with the third, and so on. After each
whole round from the second but the last, validation is asked: a depth that is surely worse than the best one is out
(`skythaw.stats.surely_worse`, an error below 5 % over all rounds and depths together). The test set is never asked.

What competes is what competes in a search: the depths (and further axes) of one network with its weights, one strategy,
one training size and the same inputs. The frozen network stays in: it costs next to nothing, and the report names the
gain over it. A depth whose training is not finished stays in too, and puts no other out.

What is decided after a round follows from the cells up to that round alone. So a run that was stopped and goes on
decides the same, and so do further workers, processes and engines. Cells that were not trained wait in the ledger:
a run without the race trains them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from skythaw.spec import IMAGES
from skythaw.stats.surely_worse import FEWEST, surely_worse
from skythaw.study.cell_result import Result
from skythaw.study.competing_settings import TrialSetting, contests
from skythaw.study.convergence import together
from skythaw.study.execute import can_start, execute, to_the_end
from skythaw.study.open_study import OpenStudy
from skythaw.study.plan import Plan, PlannedCell, plan_trials
from skythaw.study.search_standing import read_draws
from skythaw.study.study_status import RACE


@dataclass(frozen=True)
class OutOfRace:
    """A setting that got no further seeds."""

    network: str
    """with its weights, where the study names them"""
    strategy: str
    train_size: int
    inputs: str
    setting: str
    """what distinguishes it from the others: its depth, and further axes"""
    depth: int
    better: str
    """the setting that is surely better"""
    behind: tuple[float, float]
    """how much larger the macro-F1 of that one is on validation: an interval that holds for all settings and rounds"""
    trained: tuple[str, ...]
    """keys of its cells up to then"""
    left: tuple[str, ...]
    """keys of its cells after that"""


def race(run: OpenStudy) -> None:
    """Run the cells of a study seed by seed, without those of depths that can no longer be the best.

    What is out is kept in the ledger, as ``race``.
    """
    going = _contests(run.plan, list(run.plan.study.grid.axes))
    rounds = max(len(each.cells) for some in going.values() for each in some)
    if rounds <= FEWEST:
        run.watcher.noted(f"a race needs more than {FEWEST} seeds: every cell is trained")
    out: list[OutOfRace] = []
    for number in range(1, rounds + 1):
        _train(run, [p for some in going.values() for each in some for p in each.cells[number - 1 : number]])
        if not FEWEST <= number < rounds:
            continue
        for contest, some in going.items():
            beaten = _beaten(run, some, number, rounds - FEWEST)
            going[contest] = [each for each in some if each.name not in {one.setting for one in beaten}]
            out += beaten
        run.ledger.note(RACE, [asdict(each) for each in out])


def _contests(plan: Plan, axes: Sequence[str]) -> dict[tuple[Any, ...], list[TrialSetting]]:
    """The settings that compete: those of a search, by inputs as well."""
    inputs = dict.fromkeys(p.cell.inputs for p in plan.cells)
    return {
        (given, *contest): some
        for given in inputs
        for contest, some in contests([p for p in plan.cells if p.cell.inputs == given], axes).items()
    }


def _train(run: OpenStudy, cells: Iterable[PlannedCell]) -> None:
    """Run some cells to their end, wherever they run; those of both with the cells on images that they start from."""
    planned = {p.cell.key: p for p in run.plan.cells}
    wanted = {p.cell.key: p for p in cells}
    of_both = [p for p in wanted.values() if p.cell.inputs != IMAGES]
    for p in of_both:
        below = p.cell.on_images_alone.key
        wanted |= {below: planned[below]} if below in planned else {}
    _execute(run, [p for p in wanted.values() if p.cell.inputs == IMAGES])
    _execute(run, can_start(run, of_both))


def _execute(run: OpenStudy, cells: Sequence[PlannedCell]) -> None:
    if cells:
        plan = plan_trials(run.plan, cells, run.setting.cache, run.setting.cache_size, trial=False)
        to_the_end(run, cells, lambda: execute(run, plan))


def _beaten(run: OpenStudy, settings: Sequence[TrialSetting], number: int, looks: int) -> list[OutOfRace]:
    """The settings of a contest that are out after so many seeds; one with a cell that failed is not judged."""
    results = {entry.key: entry.result for entry in run.ledger.entries() if entry.result}
    whole = [each for each in settings if all(p.cell.key in results for p in each.cells[:number])]
    if len(whole) < 2:
        return []
    keys = [[p.cell.key for p in each.cells[:number]] for each in whole]
    draws = read_draws(run, keys)
    found = surely_worse(
        [draws.scores(some)["macro_f1"] for some in keys], [_finished(some, results) for some in keys], looks
    )
    return [
        OutOfRace(
            network=each.first.cell.network,
            strategy=each.first.cell.strategy,
            train_size=each.first.cell.train_size,
            inputs=each.first.cell.inputs,
            setting=each.name,
            depth=each.first.cell.depth,
            better=whole[beaten.by].name,
            behind=(beaten.low, beaten.high),
            trained=tuple(some),
            left=tuple(p.cell.key for p in each.cells[number:]),
        )
        for each, some, beaten in zip(whole, keys, found, strict=True)
        if beaten and not each.frozen
    ]


def _finished(keys: Iterable[str], results: Mapping[str, Result]) -> bool:
    """Whether the training of some cells is."""
    return not together([results[key] for key in keys])


def most_saved(plan: Plan) -> list[PlannedCell]:
    """What a race would leave untrained in the best case: after two seeds only the cheapest depth goes on."""
    found = []
    for some in _contests(plan, list(plan.study.grid.axes)).values():
        racing = sorted((each for each in some if not each.frozen), key=lambda each: each.cost)
        kept = 0 if len(racing) < len(some) else 1
        found += [p for each in racing[kept:] for p in each.cells[FEWEST:]]
    return found
