"""Running a study: the engine maps `run_cell` over the cells that the ledger lacks.

Workers need torch. This process does without it where it can, so that the first worker is not waited for twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skythaw import registry
from skythaw.backbones.known_backbones import backbone_of
from skythaw.data.cutouts import read_cutouts
from skythaw.data.pixel_store import open_store
from skythaw.engines.engine import Engine, open_engine
from skythaw.errors import LedgerError
from skythaw.machine.device import device_kind, parse_device
from skythaw.spec import Cell, Study
from skythaw.study.cell_task import CellTask, fill, run_cell
from skythaw.study.ledger import Ledger
from skythaw.study.look_ahead import look_ahead
from skythaw.study.machine_speed import MachineSpeed
from skythaw.study.on_cluster import Cluster, alternating, away, bring
from skythaw.study.plan import Plan, PlannedCell, make_plan, sets_of
from skythaw.study.scored_objects import save_objects
from skythaw.tuning.frozen.activation_cache import evict, used_bytes
from skythaw.tuning.frozen.fill_task import fills, own_fills
from skythaw.tuning.frozen.reuse_plan import BUDGET, group_of
from skythaw.tuning.locations import Locations


@dataclass(frozen=True)
class RunSettings:
    """Where and how a study runs on this machine. Only the device decides numbers: a run folder keeps to one kind."""

    out: Path
    cache: Path
    engine: str = "processes"
    workers: int | None = 1
    """cells at a time; None is as many as a cluster has room for"""
    device: str = "auto"
    cache_size: int = BUDGET
    """bytes that frozen activations may take in the cache folder; 0 keeps none, and reads none"""
    compiled: bool = False
    """whether the trained part of networks is compiled; it decides last bits, as the device does"""
    cluster: Cluster = field(default_factory=Cluster)
    """how an engine that uses a cluster does so"""

    @property
    def device_kind(self) -> str:
        """``cpu``, ``cuda`` ...; of a cluster the one that was named, which this machine need not have."""
        if self.cluster.address and self.device != "auto":
            return parse_device(self.device).type
        return device_kind(self.device)


class Watcher:
    """Told what happens while a study runs. This one says nothing; the command line's draws progress bars."""

    def decoding(self, images: Iterable[Any], total: int) -> Iterable[Any]:
        """Wrap the pass over the images that decodes them."""
        return images

    def warned(self, text: str) -> None:
        """Something the user should know."""

    def filling(self, images: int) -> None:
        """So many images, each in a view, are about to be passed through frozen prefixes; then 0 when it is over."""

    def filled(self, images: int) -> None:
        """Some of them are done."""

    def started(self, plan: Plan, done: set[str]) -> None:
        """Cells are about to run; `done` has the keys of those that need not."""

    def finished(self, planned: PlannedCell, error: str | None) -> None:
        """A cell is done, or has failed."""


@dataclass(frozen=True)
class StudySummary:
    """How a run ended."""

    cells: int
    done: int
    """in the ledger, earlier runs included"""
    failed: int
    elsewhere: int
    """being run by another process"""


@dataclass(frozen=True)
class OpenStudy:
    """A study that is being run."""

    plan: Plan
    ledger: Ledger
    engine: Engine
    setting: RunSettings
    watcher: Watcher


def run_study(study: Study, setting: RunSettings, watcher: Watcher | None = None) -> StudySummary:
    """Run every cell that the run folder lacks, and keep each result as it comes.

    Everything is checked before anything is written: names, data, split, sizes, weights, every image. A cell that fails
    is recorded with its traceback, does not stop the others, and is tried again by the next run. Two runs on one folder
    share the work.

    Raises
    ------
    SkythawError
        The study can't be run, or the folder holds another study.
    """
    with opened(study, setting, watcher or Watcher()) as run:
        execute(run, run.plan)
        states = [entry.state for entry in run.ledger.entries()]
    return StudySummary(len(states), states.count("done"), states.count("failed"), states.count("running"))


@contextmanager
def opened(
    study: Study, setting: RunSettings, watcher: Watcher, search: dict[str, Any] | None = None
) -> Iterator[OpenStudy]:
    """Check and plan a study, decode its images, and open its ledger and an engine, for as long as the block lasts.

    `search` says how a search over its depths goes: that is another use of a folder than running the study.
    """
    kind: type[Engine] = registry.get("engine", setting.engine)
    kind.warm_up()
    device = setting.device_kind
    if not kind.cluster:
        look_ahead(study, setting.cache, setting.engine)
    make_plan(study, setting.cache, budget=0)  # what can be known before a long decoding
    _decode(study, setting, watcher)
    plan = make_plan(study, setting.cache, download=True, budget=setting.cache_size)
    _try_weights(plan)
    for warning in plan.warnings:
        watcher.warned(warning)
    engine = open_engine(setting.engine, setting.workers, setting.cluster.address)
    description = plan.description if search is None else {**plan.description, "search": search}
    with engine, Ledger.create(setting.out, description, []) as ledger:
        _keep_to(ledger, device + (", compiled" if setting.compiled else ""))
        _remark(ledger, plan)
        save_objects(setting.out, plan.study_data)
        yield OpenStudy(plan, ledger, engine, setting, watcher)


def execute(run: OpenStudy, plan: Plan, *, trial: bool = False) -> None:
    """Run the cells of a plan that the ledger lacks.

    Parameters
    ----------
    run
        what is open
    plan
        its own, or another of the same data
    trial
        score validation alone: these cells only serve to choose others (one that is also a cell of the study is scored
        as such)
    """
    ledger = run.ledger
    ledger.extend([(p.cell, p.cost) for p in plan.cells])
    planned = {p.cell.key: p for p in plan.cells}
    done = {entry.key for entry in ledger.entries() if entry.state == "done"}
    _fill(plan, done, run)
    run.watcher.started(plan, done)
    ran: list[tuple[Cell, float, float]] = []
    with ledger.runner() as runner:
        for outcome in run.engine.map(_placed(run_cell, plan, run), _claimed(runner, plan, run, trial)):
            key = outcome.item.cell.key
            if outcome.error is None:
                result = bring(outcome.value, run.setting.out)
                ledger.add(key, result)
                ran.append((outcome.item.cell, planned[key].cost, result.seconds["total"]))
            else:
                ledger.fail(key, outcome.error)
            run.watcher.finished(planned[key], outcome.error)
    if run.engine.local:
        MachineSpeed(run.setting.cache).remember(ran)


def _placed(function: Callable[[Any], Any], plan: Plan, run: OpenStudy) -> Callable[[Any], Any]:
    """The function as the engine wants it."""
    if not run.engine.cluster:
        return function
    return away(plan, run.engine, run.setting.cluster, run.setting.cache_size)


def _claimed(runner: str, plan: Plan, run: OpenStudy, trial: bool) -> Iterator[CellTask]:
    """The tasks of this run, each claimed at the moment a worker is free for it; the longest first."""
    own = {p.cell.key for p in run.plan.cells}
    kept = {group_of(reuse.uses[0].cell): reuse for reuse in plan.reuse} if run.engine.cluster else {}
    sets = sets_of(plan.study_data)
    for p in sorted(plan.cells, key=lambda each: -each.cost):
        if run.ledger.claim(p.cell.key, runner):
            locations, only_trial = _locations(p, plan, run), trial and p.cell.key not in own
            reuse = None if only_trial else kept.get(group_of(p.cell))
            yield CellTask(
                p.cell, locations, only_trial, own_fills(locations, reuse, p.cell, p.cut, sets) if reuse else ()
            )


def _locations(planned: PlannedCell, plan: Plan, run: OpenStudy) -> Locations:
    data, setting = plan.study.data, run.setting
    assert planned.weights is not None  # planned with download=True
    reuse, device = setting.cache_size > 0, setting.device_kind if run.engine.cluster else setting.device
    return Locations(
        data.path, data.test_path, planned.weights, setting.cache, setting.out, device, reuse, setting.compiled
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


def _decode(study: Study, setting: RunSettings, watcher: Watcher) -> None:
    """Decode every image once."""
    for path in (study.data.path, study.data.test_path):
        if path is not None:
            cutouts, skip = read_cutouts(path), study.data.skip_broken
            store = open_store(cutouts, setting.cache, skip_broken=skip, progress=watcher.decoding)
            for object_id, reason in store.broken.items():
                watcher.warned(f"left out {object_id}: {reason}")


def _keep_to(ledger: Ledger, device: str) -> None:
    """Refuse to go on with a run on another kind of device: its numbers would differ."""
    before = ledger.remark("device")
    if before not in (None, device):
        options = f"--device {before}".replace(", compiled", " --compile")
        raise LedgerError(f"{ledger.folder} was run on {before}, not on {device}; say {options}, or a new folder")
    ledger.note("device", device)


def _try_weights(plan: Plan) -> None:
    """Load each file of weights that the user gave: one of another network is refused before anything starts."""
    given = {p.cell.backbone: (p.weights, p.cell) for p in plan.cells if p.weights and p.weights.source == "file"}
    if not given:
        return
    from skythaw.backbones.network import build

    for weights, cell in given.values():
        build(backbone_of(cell), weights)


def _remark(ledger: Ledger, plan: Plan) -> None:
    """Keep beside the study what a reader of the run will ask for."""
    data = plan.study.data
    paths = {"path": data.path, "test_path": data.test_path}
    ledger.note("name", plan.study.name)
    ledger.note("classes", plan.classes)
    ledger.note("objects", plan.objects)
    ledger.note("balance", plan.study_data.balance)
    ledger.note("warnings", plan.warnings)
    files = {p.cell.backbone: p.weights.path for p in plan.cells if p.weights and p.weights.path}
    ledger.note("weights", {name: str(path.absolute()) for name, path in files.items()})
    ledger.note("data", {n: str(p.absolute()) if p else None for n, p in paths.items()})
