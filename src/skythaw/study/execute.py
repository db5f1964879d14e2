"""Running the cells of a plan: rates settle, what is frozen is kept, and an engine maps `run_cell` over the cells."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from skythaw.errors import OutputError
from skythaw.machine.files import NO_ROOM
from skythaw.spec import IMAGES, Cell
from skythaw.stats.cell_predictions import OUT_OF_FOLD, read_log_probabilities
from skythaw.study.cell_result import Result
from skythaw.study.cell_task import Beside, CellTask, fill, run_cell
from skythaw.study.live_epochs import live_epochs
from skythaw.study.machine_speed import MachineSpeed
from skythaw.study.number_cells import OpenNumbers, is_table
from skythaw.study.on_cluster import alternating, away, bring
from skythaw.study.open_study import Kind, OpenStudy
from skythaw.study.plan import Plan, PlannedCell, plan_trials, sets_of
from skythaw.study.rate_trials import RateTrials, SettledRate, given_rate, setting_of, settled_by
from skythaw.tuning.frozen.activation_cache import evict, used_bytes
from skythaw.tuning.frozen.fill_task import fills, own_fills
from skythaw.tuning.frozen.reuse_plan import group_of
from skythaw.tuning.locations import Locations
from skythaw.tuning.training_pace import times_expected

SCORED = ("validation", "test")
POLL = 1.0
"""seconds between two looks at a cell that another process runs"""


def execute(run: OpenStudy, plan: Plan) -> None:
    """Run the cells of a plan that the ledger lacks, each with its learning rate.

    Parameters
    ----------
    run
        what is open
    plan
        its own, or one of some of its cells
    """
    run.ledger.extend([(p.cell, p.cost) for p in plan.cells])
    done = _keys_done(run)
    alone = tuple(p for p in plan.cells if p.cell.inputs == IMAGES)
    rates = settle_rates(run, [p for p in alone if p.cell.key not in done])
    together = [p for p in plan.cells if p.cell.inputs != IMAGES]
    if not together:
        _map_cells(run, replace(plan, cells=alone), rates, "cell")
        return
    to_the_end(run, alone, lambda: _map_cells(run, replace(plan, cells=alone), rates, "cell"))
    beside = _beside(run, [p.cell for p in together if p.cell.key not in done])
    if ready := tuple(p for p in together if p.cell.key in beside or p.cell.key in done):
        _map_cells(run, replace(plan, cells=ready), {}, "both", beside)


def _beside(run: OpenStudy, cells: Sequence[Cell]) -> dict[str, Beside]:
    """What cells of both start from, by their keys; those are left out that lack a finished cell to start from."""
    out, found = run.setting.out, {}
    starts = _starts(run, cells)
    numbers = OpenNumbers(run.plan.study, run.setting.cache) if starts else None
    of_tables = {e.key: e.cell for e in run.ledger.entries("numbers")}
    known: dict[str, dict[str, np.ndarray]] = {}
    for key, (result, table) in starts.items():
        if numbers and table.key not in known:
            known[table.key] = numbers.known(of_tables[table.key])
        images = _said(out, result, SCORED)
        of_numbers = _said(out, table, (*SCORED, OUT_OF_FOLD))
        made_of = {"images": result.key, "table": table.key}
        found[key] = Beside(result, images, of_numbers, made_of, known[table.key])
    return found


def _starts(run: OpenStudy, cells: Sequence[Cell]) -> dict[str, tuple[Result, Result]]:
    """The finished cells, on images and on numbers, that cells of both start from; by the keys of these."""
    on_images = {e.key: e.result for e in run.ledger.entries() if e.result}
    tables = [e for e in run.ledger.entries("numbers") if is_table(e)]
    on_numbers = {(e.cell.train_size, e.cell.seed): e.result for e in tables}
    both = {c.key: (on_images.get(c.on_images_alone.key), on_numbers.get((c.train_size, c.seed))) for c in cells}
    return {key: (images, table) for key, (images, table) in both.items() if images and table}


def can_start(run: OpenStudy, cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Of some cells of both, those that have the finished cells they start from."""
    found = _starts(run, [p.cell for p in cells])
    return [p for p in cells if p.cell.key in found]


def _said(out: Path, result: Result, parts: Iterable[str]) -> dict[str, np.ndarray]:
    """What a finished cell said of some parts; those that it has nothing of are left out."""
    found = {part: read_log_probabilities(out, result.key, part, result.classes) for part in parts}
    return {part: each for part, each in found.items() if len(each)}


def settle_rates(run: OpenStudy, cells: Sequence[PlannedCell]) -> dict[str, SettledRate]:
    """The learning rates of some cells, by setting; trials that are still wanted are run.

    A trial that fails twice counts as the worst. A setting that has a finished cell keeps the rate of that, so that all
    its seeds have the same, whatever became of its trials since.
    """
    found = {setting_of(p.cell): given_rate(p.cell) for p in cells if p.cell.recipe.lr != "auto"}
    open_ones = {setting_of(p.cell): p for p in cells if p.cell.recipe.lr == "auto"}
    found |= {name: rate for name, rate in _settled_before(run).items() if name in open_ones}
    failures: Counter[str] = Counter()
    while True:
        lost = {key for key, times in failures.items() if times > 1}
        trials = {e.key: e for e in run.entries()}
        tried = {name: RateTrials.follow(p.cell, trials, lost) for name, p in open_ones.items() if name not in found}
        found |= {name: each.settled() for name, each in tried.items() if not each.wanted}
        wanted = [replace(open_ones[name], cell=cell) for name, each in tried.items() for cell in each.wanted]
        if not wanted:
            return found
        run_trials(run, wanted, "rate")
        keys = {p.cell.key for p in wanted}
        failures.update(e.key for e in run.entries() if e.state == "failed" and e.key in keys)


def _settled_before(run: OpenStudy) -> dict[str, SettledRate]:
    """The rates that trials chose for the settings that have a finished cell."""
    finished = [e for e in run.ledger.entries() if e.result and e.cell.recipe.lr == "auto"]
    return {setting_of(e.cell): settled_by(e.result.lr_trials) for e in finished if e.result and e.result.lr_trials}


def run_trials(run: OpenStudy, trials: Sequence[PlannedCell], what: Kind) -> None:
    """Run the trials that the ledger lacks, each with the rate that it says.

    They only serve to choose, so they are scored on validation alone (one that is also a cell of the study is scored
    as such).
    """
    plan = plan_trials(run.plan, trials, run.setting.cache, run.setting.cache_size, trial=True)
    rates = {setting_of(p.cell): given_rate(p.cell) for p in trials}
    to_the_end(run, trials, lambda: _map_cells(run, plan, rates, what))


def to_the_end(run: OpenStudy, cells: Iterable[PlannedCell], work: Callable[[], None]) -> None:
    """Do the work on some cells; wait for those that another process runs, and take over what it leaves undone."""
    keys = {p.cell.key for p in cells}
    while True:
        work()
        while "running" in (states := [e.state for e in run.entries() if e.key in keys]):
            time.sleep(POLL)
        if "waiting" not in states:
            return


def _map_cells(
    run: OpenStudy, plan: Plan, rates: dict[str, SettledRate], what: Kind, beside: Mapping[str, Beside] | None = None
) -> None:
    """Run the cells of a plan that the ledger lacks, each with its learning rate, or with what it starts from."""
    ledger = run.ledger
    own = {p.cell.key for p in run.plan.cells}
    ledger.extend([(p.cell, p.cost) for p in plan.cells if p.cell.key in own])
    ledger.extend([(p.cell, p.cost) for p in plan.cells if p.cell.key not in own], "trial")
    planned = {p.cell.key: p for p in plan.cells}
    done = _keys_done(run) & set(planned)
    _fill(plan, done, run)
    run.watcher.started(plan, done, what)
    ran: list[tuple[Cell, float, dict[str, float]]] = []
    with ledger.runner() as runner, live_epochs(run.engine, run.watcher, planned) as live:
        claimed = _claimed(runner, plan, run, rates, beside or {})
        tasks = (replace(task, epochs=live.folder) for task in claimed) if live else claimed
        for outcome in run.engine.map(_placed(run_cell, plan, run), tasks):
            key = outcome.item.cell.key
            if outcome.error is None:
                result = bring(outcome.value, run.setting.out)
                ledger.add(key, result)
                ran.append((outcome.item.cell, _spent(planned[key], result), result.seconds))
                run.watcher.scored(planned[key], result)
            else:
                require_room(outcome.error, run.setting.out)
                ledger.fail(key, outcome.error)
            if live:
                live.ended(key)
            run.watcher.finished(planned[key], outcome.error)
    if run.engine.local:
        MachineSpeed(run.setting.cache).remember(ran)


def _spent(planned: PlannedCell, result: Result) -> float:
    """The FLOPs of a cell that was run: its training was longer or shorter than the plan expected."""
    cell = planned.cell
    if cell.recipe.epochs != "auto" or not result.curves:
        return planned.cost
    return planned.cost * times_expected(cell.recipe, cell.train_size, float(result.curves[-1]["step"]))


def require_room(error: str, out: Path) -> None:
    """Raise `OutputError` if a cell failed because nothing can be written: so would every other one."""
    last = error.strip().splitlines()[-1]
    if reason := next((text for code in NO_ROOM if (text := os.strerror(code)) in last), None):
        where = found[1] if (found := re.search(r"can't write (.+?): ", last)) else str(out)
        raise OutputError(
            f"can't write {where}: {reason}; the study stops. Finished cells are kept in {out}, and the same command "
            "goes on when there is room"
        )


def _keys_done(run: OpenStudy) -> set[str]:
    return {entry.key for entry in run.entries() if entry.state == "done"}


def _placed(function: Callable[[Any], Any], plan: Plan, run: OpenStudy) -> Callable[[Any], Any]:
    """The function as the engine wants it."""
    if not run.engine.cluster:
        return function
    return away(plan, run.engine, run.setting.cluster, run.setting.cache_size)


def _claimed(
    runner: str, plan: Plan, run: OpenStudy, rates: dict[str, SettledRate], beside: Mapping[str, Beside]
) -> Iterator[CellTask]:
    """The tasks of this run, each claimed at the moment a worker is free for it: heads alone first, which take next to
    nothing and which all else is compared with, then the longest.
    """
    own = {p.cell.key for p in run.plan.cells}
    kept = {group_of(reuse.uses[0].cell): reuse for reuse in plan.reuse} if run.engine.cluster else {}
    sets = sets_of(plan.study_data)
    for p in sorted(plan.cells, key=lambda each: (each.cell.depth > 0, -each.cost)):
        if run.ledger.claim(p.cell.key, runner):
            locations, trial = _locations(p, plan, run), p.cell.key not in own
            reuse = None if trial else kept.get(group_of(p.cell))
            first = own_fills(locations, reuse, p.cell, p.cut, sets) if reuse else ()
            start = beside.get(p.cell.key)
            rate = SettledRate(start.result.lr) if start else rates.get(setting_of(p.cell)) or given_rate(p.cell)
            yield CellTask(p.cell, locations, rate, trial, first, start)


def _locations(planned: PlannedCell, plan: Plan, run: OpenStudy) -> Locations:
    data, setting = plan.study.data, run.setting
    assert planned.weights is not None  # planned with download=True
    reuse, device = setting.cache_size > 0, setting.device_kind if run.engine.cluster else setting.device
    share = min(1.0, setting.cluster.gpus) if run.engine.cluster else 1 / run.engine.workers
    return Locations(
        data.path, data.test_path, planned.weights, setting.cache, setting.out, device, reuse, setting.compiled, share
    )


def _fill(plan: Plan, done: set[str], run: OpenStudy) -> None:
    """Pass the images through the frozen prefixes whose activations are kept, for the groups with cells left.

    What can't be kept is computed again by the cells, so a cache folder that fails is a warning.
    """
    setting, watcher = run.setting, run.watcher
    waiting = {group_of(p.cell): p for p in plan.cells if p.cell.key not in done}
    tasks = [
        task
        for reuse in plan.reuse
        if (planned := waiting.get(group_of(reuse.uses[0].cell)))
        for task in fills(_locations(planned, plan, run), reuse)
    ]
    if not tasks:
        return
    if run.engine.cluster:  # each node keeps to the size by itself
        tasks = alternating(tasks)
    else:
        folders = {folder for task in tasks for folder in task.folders()}
        planned_bytes = sum(use.bytes for reuse in plan.reuse for use in reuse.uses if use.keep)
        evict(setting.cache, setting.cache_size, planned_bytes - sum(map(used_bytes, folders)), folders)
    watcher.filling(sum(len(task.rows) for task in tasks))
    for outcome in run.engine.map(_placed(fill, plan, run), tasks):
        if outcome.error is not None:
            reason = outcome.error.strip().splitlines()[-1]
            watcher.warned(f"frozen activations are not kept, cells compute them again: {reason}")
            break
        watcher.filled(len(outcome.item.rows))
    watcher.filling(0)
