"""A Ray cluster: nodes of this or other machines. Ray is imported when the engine is made.

Each item is one Ray task without retries of Ray's own: what a function raises is its outcome, and an item whose worker
or node dies is given out again here, a few times. Items of a group go to one node, the group's home, because of what
earlier ones left in that node's cache.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skythaw.engines import shared
from skythaw.engines.base import Engine, Needs, Outcome, Outcomes, attempt
from skythaw.engines.placing import Placing, said
from skythaw.errors import RemoteError, UnknownNameError

PART = 32 << 20
"""bytes of a shared file that travel as one object"""
FOLDER = "skythaw-ray-"
"""how the folders for Ray's own files begin; the driver's process id comes next"""
LOOK = 5.0
"""seconds between looks at which nodes there are"""
CONNECT = 10.0
"""seconds without an answer after which there is no cluster at an address"""
LONGEST_FOLDER = 32
"""characters: the paths of Ray's sockets below it must stay within the system's 107"""


@dataclass
class _Job:
    """An item that is under way."""

    item: Any
    needs: Needs
    asked: Needs
    """what the cluster was asked for: not more than a node had then"""
    deaths: int = 0


class Ray(Engine):
    """Runs items on a Ray cluster.

    Parameters
    ----------
    workers
        items at a time; None for as many as the cluster has room for, which may grow and shrink meanwhile
    address
        of a running cluster (``auto``: one on this machine, or HOST:PORT); None starts one on this machine alone, which
        listens on the loopback interface and ends with the engine

    Raises
    ------
    UnknownNameError
        Ray is not installed.
    RemoteError
        There is no cluster at the address.
    """

    cluster = True

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        self._limit = workers
        self._shared: dict[Path, shared.Shared] = {}
        self._placing, self._looked = Placing(), -LOOK
        self._folder: Path | None = None
        self.local = address is None
        self._ray = _import(self.local)
        self._owned = not self._ray.is_initialized()
        if self._owned:
            self._start(address)
        self._task = self._ray.remote(_work)

    @property
    def workers(self) -> int:  # type: ignore[override]
        """Items at a time, now."""
        return self._limit or self._look().room(Needs())

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Outcomes:
        queue, busy = iter(items), dict[Any, _Job]()
        needs_of = getattr(function, "needs", lambda _item: Needs())
        sent = self._ray.put(function)
        try:
            while True:
                while len(busy) < self._room(busy) and (item := next(queue, None)) is not None:
                    needs = needs_of(item)
                    job = _Job(item, needs, needs)
                    busy[self._give(sent, job)] = job
                if not busy:
                    return
                ready, _ = self._ray.wait(list(busy), timeout=LOOK)
                for reference in ready:
                    job = busy.pop(reference)
                    if outcome := self._take(reference, job):
                        yield outcome
                    else:
                        busy[self._give(sent, job)] = job
                placing = self._look()
                for reference in [] if ready else [r for r, job in busy.items() if placing.is_hopeless(job.asked)]:
                    self._cancel([reference])
                    job = busy.pop(reference)
                    if placing.able(placing.bounded(job.needs)):  # the node that had as much is gone
                        busy[self._give(sent, job)] = job
                    else:
                        yield Outcome(job.item, error=f"no node of the Ray cluster has {said(job.needs)}")
        finally:
            self._cancel(list(busy))

    def share(self, path: Path) -> shared.Shared:
        if self.local:
            return shared.Shared(path)
        if path not in self._shared:
            self._shared[path] = shared.share(path, self._ray.put, _get, PART)
        return self._shared[path]

    def close(self) -> None:
        if self._owned:
            self._ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, address: str | None) -> None:
        """Start a cluster on this machine, or join one."""
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # else each start praises its token
        if address is None:
            self._folder = _make_folder()
            quiet |= {"include_dashboard": False, "_temp_dir": str(self._folder)}
            quiet |= {"num_cpus": max(self._limit or 1, os.cpu_count() or 1)}
        try:
            if address and (place := re.fullmatch(r"(.+):(\d+)", address)):  # Ray itself tries for minutes
                socket.create_connection((place[1], int(place[2])), CONNECT).close()
            with _own_path():
                self._ray.init(address=address or "local", **quiet)
        except (RuntimeError, ValueError, OSError, OverflowError) as error:
            self.close()
            reason = str(error).strip().partition("\n")[0]
            where = f"at {address}" if address else "on this machine"
            raise RemoteError(f"no Ray cluster {where}: {reason}") from None

    def _give(self, function: Any, job: _Job) -> Any:
        """Hand a job to the cluster."""
        placing = self._look()
        needs = job.asked = placing.bounded(job.needs)
        options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_retries": 0}
        if needs.memory:
            options["memory"] = needs.memory
        if home := placing.home(needs):
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
                home, soft=True, _spill_on_unavailable=not needs.stay
            )
        return self._task.options(**options).remote(function, job.item)

    def _take(self, reference: Any, job: _Job) -> Outcome | None:
        """The outcome of a job; None if it is to be given out again."""
        try:
            value, error = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as raised:  # outside the function: what it takes or gives can't travel
            return Outcome(job.item, error=str(raised))
        except self._ray.exceptions.RayError as raised:
            self._looked = -LOOK  # a node may be gone
            job.deaths += 1
            if job.deaths <= job.needs.retries:
                return None
            reason = str(raised).strip().partition("\n")[0]
            times = f", {job.deaths} times" if job.deaths > 1 else ""
            return Outcome(job.item, error=f"the worker died{times}: {type(raised).__name__}: {reason}", died=True)
        return Outcome(job.item, value, error)

    def _look(self) -> Placing:
        """The nodes that there are."""
        if time.monotonic() - self._looked > LOOK:
            self._placing.nodes = {node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]}
            self._looked = time.monotonic()
        return self._placing

    def _room(self, busy: dict[Any, _Job]) -> int:
        """How many jobs like the last one are wanted at a time."""
        if self._limit or not busy:
            return self.workers
        return self._look().room(next(reversed(busy.values())).needs)

    def _cancel(self, references: list[Any]) -> None:
        """Stop jobs at once, and wait until they are."""
        for reference in references:
            self._ray.cancel(reference, force=True)
        if references:
            self._ray.wait(references, num_returns=len(references), timeout=LOOK)


def node_id() -> str:
    """The node that this task runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _work(function: Callable[[Any], Any], item: Any) -> tuple[Any, str | None]:
    """What runs at the node."""
    outcome = attempt(function, item)
    return outcome.value, outcome.error


def _get(handle: Any) -> bytes:
    import ray

    data: bytes = ray.get(handle)
    return data


def _import(local: bool) -> Any:
    """Ray, which is told before to send no statistics; one that is ours alone, to stay on the loopback interface."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if local:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise UnknownNameError("the engine ray needs the package ray: pip install 'skythaw[ray]'") from None
    return ray


@contextmanager
def _own_path() -> Iterator[None]:
    """Let processes that are started in the block find the modules that this one finds."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _make_folder() -> Path:
    """A folder for the files of a cluster of ours; those that killed drivers left are removed."""
    place = Path(tempfile.gettempdir() if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp")
    for each in place.glob(f"{FOLDER}*"):
        driver = re.match(rf"{FOLDER}(\d+)-", each.name)
        if driver and not _alive(int(driver[1])):
            shutil.rmtree(each, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=place))


def _alive(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True
