"""Cells on machines that may see none of this one's files.

Data and weights are found there by content, or fetched once a node into its cache folder; activations and decoded
images stay in that folder; what a cell leaves in its run folder comes back with its result, and is written here.
"""

from __future__ import annotations

import getpass
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from skythaw.engines.engine import Engine, Needs
from skythaw.engines.shared_files import Shared
from skythaw.errors import DataError
from skythaw.machine.files import replacing
from skythaw.study.cell_task import CellTask, fill, run_cell
from skythaw.study.plan import Plan
from skythaw.tuning.frozen.activation_cache import evict
from skythaw.tuning.frozen.fill_task import Fill
from skythaw.tuning.frozen.reuse_plan import group_of

NODE_CACHE = "{temporary}/skythaw-cache-{user}"
FORGOTTEN = 86_400.0
"""seconds after which the folder of a cell was left by a killed worker; one that is not is simply made again"""


@dataclass(frozen=True)
class Cluster:
    """How the cells of a study use a cluster; nothing of it decides a number."""

    address: str | None = None
    """of a running one; None starts one on this machine alone"""
    cache: str | None = None
    """folder for caches at each node, in which ``{node}`` is its id; None: in the node's temporary folder, or the usual
    cache folder on this machine alone"""
    gpus: float = 1.0
    """share of a GPU for a cell on one"""
    memory: int | None = None
    """bytes that a cell reserves at its node; 0 reserves none, None what the plan expects it to need"""


@dataclass(frozen=True)
class Brought:
    """What a function gave, and the files it left, by their place below the run folder."""

    value: Any
    files: dict[str, bytes]


@dataclass(frozen=True)
class Away:
    """`run_cell` and `fill`, for a cluster.

    A cell that comes to a node without its activations (its home was busy, or is gone) first keeps there what it needs,
    so that the next one of its group finds it: that is less than it would compute again in every epoch.
    """

    data: Shared
    test: Shared | None
    weights: dict[str, Shared]
    """by checksum"""
    memory: dict[str, int]
    """bytes that each cell reserves, by its key"""
    groups: dict[str, tuple[int, int]]
    """bytes that the smallest and the largest cell reserve, by their group"""
    cache: str | None
    """as in `Cluster`; None is the task's own"""
    cluster: Cluster
    cache_size: int
    """bytes that activations may take at a node"""

    def needs(self, task: CellTask | Fill) -> Needs:
        """The CPUs of the cell's threads, a share of a GPU if it runs on one, and the node with its activations.

        A pass that fills them needs no more memory than the smallest cell that reads what it gives.
        """
        gpus = self.cluster.gpus if task.locations.device.startswith("cuda") else 0.0
        group, filling = group_of(task.cell), isinstance(task, Fill)
        smallest, largest = self.groups[group]
        memory = smallest if filling else self.memory[task.cell.key]
        return Needs(task.cell.recipe.threads, gpus, memory, group, largest, stay=filling)

    def __call__(self, task: CellTask | Fill) -> Brought:
        locations = task.locations
        cache = locations.cache if self.cache is None else node_folder(self.cache)
        weights = locations.weights
        if shared := self.weights.get(weights.sha256):
            weights = replace(weights, path=shared.here(cache))
        data, test = self.data.here(cache), self.test.here(cache) if self.test else None
        with tempfile.TemporaryDirectory(prefix="cell-", dir=_swept(cache / "cells")) as out:
            there = replace(locations, data=data, test=test, weights=weights, cache=cache, out=Path(out))
            for each in (task,) if isinstance(task, Fill) else task.first:
                with suppress(OSError):  # the disk is full: cells compute what they do not find
                    fill(replace(each, locations=there))
                    evict(cache, self.cache_size, 0, set(replace(each, locations=there).folders()))
            value = None if isinstance(task, Fill) else run_cell(replace(task, locations=there))
            found = [path for path in sorted(Path(out).rglob("*")) if path.is_file()]
            return Brought(value, {path.relative_to(out).as_posix(): path.read_bytes() for path in found})


def away(plan: Plan, engine: Engine, cluster: Cluster, cache_size: int) -> Away:
    """The function for the cells of a plan, with the files they need shared."""
    data = plan.study.data
    files = {p.weights.sha256: p.weights.path for p in plan.cells if p.weights and p.weights.path}
    memory = {p.cell.key: p.memory if cluster.memory is None else cluster.memory for p in plan.cells}
    groups: dict[str, list[int]] = {}
    for p in plan.cells:
        groups.setdefault(group_of(p.cell), []).append(memory[p.cell.key])
    return Away(
        data=engine.share(data.path),
        test=engine.share(data.test_path) if data.test_path else None,
        weights={sha256: engine.share(path) for sha256, path in files.items()},
        memory=memory,
        groups={group: (min(each), max(each)) for group, each in groups.items()},
        cache=cluster.cache or (None if engine.local else NODE_CACHE),
        cluster=cluster,
        cache_size=cache_size,
    )


def bring(value: Any, out: Path) -> Any:
    """What a function gave, wherever it ran; files that it left elsewhere are written below `out`."""
    if not isinstance(value, Brought):
        return value
    for name, data in value.files.items():
        with replacing(out / name) as file:
            file.write(data)
    return value.value


def alternating(tasks: Iterable[Fill]) -> list[Fill]:
    """The tasks with those of different groups by turns: each group has one node, and all nodes begin at once."""
    groups: dict[str, list[Fill]] = {}
    for task in tasks:
        groups.setdefault(str(group_of(task.cell)), []).append(task)
    return [task for task in chain.from_iterable(zip_longest(*groups.values())) if task is not None]


def node_folder(pattern: str) -> Path:
    """The folder for caches at the node that this runs on.

    Raises
    ------
    DataError
        The default one, whose name anybody can guess, belongs to somebody else.
    """
    folder = pattern.replace("{temporary}", tempfile.gettempdir()).replace("{user}", _user())
    if "{node}" in folder:
        from skythaw.engines.ray_engine import node_id

        folder = folder.replace("{node}", node_id())
    if pattern == NODE_CACHE:
        _require_own(Path(folder))
    return Path(folder)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.geteuid())


def _require_own(folder: Path) -> None:
    """Make a folder that nobody else can write, or see that it is one: what lies in a cache is believed."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if os.name == "posix" and (found.st_uid != os.geteuid() or stat.S_ISLNK(found.st_mode) or found.st_mode & 0o022):
        raise DataError(f"others can write to {folder}, where caches would go: remove it, or say --node-cache FOLDER")


def _swept(folder: Path) -> Path:
    """The folder, without what killed workers left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in folder.iterdir():
        with suppress(OSError):  # another worker was faster
            if time.time() - each.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(each)
    return folder
