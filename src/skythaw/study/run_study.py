"""Running a study: the engine maps `run_cell` over the cells that the ledger lacks.

Workers need torch. This process does without it where it can, so that the first worker is not waited for twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from skythaw import registry
from skythaw.backbones.known_backbones import backbone_of
from skythaw.data.cutouts import read_cutouts
from skythaw.data.pixel_store import open_store
from skythaw.engines.engine import Engine, open_engine
from skythaw.errors import LedgerError
from skythaw.spec import Study
from skythaw.study.depth_race import race
from skythaw.study.execute import execute
from skythaw.study.ledger import Ledger
from skythaw.study.look_ahead import look_ahead
from skythaw.study.number_cells import run_number_cells
from skythaw.study.open_study import OpenStudy, RunSettings, Watcher
from skythaw.study.plan import Plan, make_plan
from skythaw.study.scored_objects import save_objects
from skythaw.study.study_status import RACE, status


@dataclass(frozen=True)
class StudySummary:
    """How a run ended."""

    cells: int
    done: int
    """in the ledger, earlier runs included"""
    failed: int
    elsewhere: int
    """being run by another process"""
    stopped: int = 0
    """not trained, because their depths can no longer be the best"""
    failed_numbers: int = 0
    """models of numbers, the control among them, which are no trainings"""


def run_study(
    study: Study, setting: RunSettings, watcher: Watcher | None = None, *, with_race: bool = False
) -> StudySummary:
    """Run every cell that the run folder lacks, and keep each result as it comes.

    Everything is checked before anything is written: names, data, split, sizes, weights, every image. A cell that fails
    is recorded with its traceback, does not stop the others, and is tried again by the next run. Two runs on one folder
    share the work. With a race, depths that can no longer be the best get no further seeds (`depth_race.py`).

    Raises
    ------
    SkythawError
        The study can't be run, or the folder holds another study.
    """
    with opened(study, setting, watcher or Watcher()) as run:
        run.ledger.extend([(p.cell, p.cost) for p in run.plan.cells])  # so that all who look see what is to come
        run_number_cells(run)
        if with_race:
            race(run)
        else:
            if run.ledger.remark(RACE):
                run.ledger.note(RACE, [])  # what it left is trained now
            execute(run, run.plan)
        found = status(run.ledger)
        of_numbers = sum(entry.state == "failed" for entry in run.ledger.entries("numbers"))
    return StudySummary(
        found["cells"], found["done"], found["failed"], found["running"], found["stopped"], failed_numbers=of_numbers
    )


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
    make_plan(study, setting.cache, budget=0, device=device)  # what can be known before a long decoding
    _decode(study, setting, watcher)
    plan = make_plan(study, setting.cache, download=True, budget=setting.cache_size, device=device)
    for note in _try_weights(plan):
        watcher.noted(note)
    for note in plan.notes:
        watcher.noted(note)
    for warning in plan.warnings:
        watcher.warned(warning)
    engine = open_engine(setting.engine, setting.workers, setting.cluster.address)
    description = plan.description if search is None else {**plan.description, "search": search}
    with engine, Ledger.create(setting.out, description, []) as ledger:
        _keep_to(ledger, device + (", compiled" if setting.compiled else ""))
        _remark(ledger, plan)
        save_objects(setting.out, plan.study_data)
        yield OpenStudy(plan, ledger, engine, setting, watcher)


def _decode(study: Study, setting: RunSettings, watcher: Watcher) -> None:
    """Decode every image once."""
    for path in (study.data.path, study.data.test_path):
        if path is not None:
            cutouts, skip = read_cutouts(path), study.data.skip_broken
            store = open_store(cutouts, setting.cache, skip_broken=skip, progress=watcher.decoding, verify=True)
            for object_id, reason in store.broken.items():
                watcher.warned(f"left out {object_id}: {reason}")


def _keep_to(ledger: Ledger, device: str) -> None:
    """Refuse to go on with a run on another kind of device: its numbers would differ."""
    before = ledger.remark("device")
    if before not in (None, device):
        options = f"--device {before}".replace(", compiled", " --compile")
        raise LedgerError(f"{ledger.folder} was run on {before}, not on {device}; say {options}, or a new folder")
    ledger.note("device", device)


def _try_weights(plan: Plan) -> list[str]:
    """Load each set of weights that the user chose: one of another network is refused before anything starts.

    What is said of each is where in its file the weights were, where that is not plain.
    """
    given = {
        p.cell.network: (p.weights, p.cell)
        for p in plan.cells
        if p.weights and (p.weights.source == "file" or p.cell.weights.published)
    }
    if not given:
        return []
    from skythaw.backbones.network import build

    how = {name: build(backbone_of(cell), weights).read_how for name, (weights, cell) in given.items()}
    return [f"weights of {name}: {text}" for name, text in how.items() if text]


def _remark(ledger: Ledger, plan: Plan) -> None:
    """Keep beside the study what a reader of the run will ask for."""
    data = plan.study.data
    paths = {"path": data.path, "test_path": data.test_path}
    ledger.note("name", plan.study.name)
    ledger.note("classes", plan.classes)
    ledger.note("objects", plan.objects)
    ledger.note("balance", plan.study_data.balance)
    ledger.note("warnings", plan.warnings)
    ledger.note("numbers", plan.notes)
    ledger.note("division", plan.study_data.division.why)
    files = {p.cell.network: p.weights.path for p in plan.cells if p.weights and p.weights.path}
    ledger.note("weights", {name: str(path.absolute()) for name, path in files.items()})
    ledger.note("data", {n: str(p.absolute()) if p else None for n, p in paths.items()})
    if table := plan.study.data.table:
        ledger.note("table", str(table.absolute()))
