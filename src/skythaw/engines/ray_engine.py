"""A Ray cluster: nodes of this or other machines. Ray is imported when the engine is made.

Each item is one Ray task without retries of Ray's own: what a function raises is its outcome, and an item whose worker
or node dies is given out again here, a few times. Items of a group go to one node, the group's home, because of what
earlier ones left in that node's cache.
"""

from __future__ import annotations

import logging
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from skythaw.engines import shared_files
from skythaw.engines.engine import Engine, Needs, Outcome, Outcomes, attempt
from skythaw.engines.node_placement import PATIENCE, Placing, said
from skythaw.engines.ray_start import import_ray, make_folder, signals_as_before, surroundings
from skythaw.errors import OutputError, RemoteError
from skythaw.machine.processor import cores

PART = 32 << 20
"""bytes of a shared file that travel as one object"""
LOOK = 5.0
"""seconds between looks at which nodes there are"""
CONNECT = 10.0
"""seconds without an answer after which there is no cluster at an address"""
ANY = Needs(cpus=0.01)
"""what every node that works can hold"""


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
        There is no cluster at the address, or this process uses Ray already.
    """

    cluster = True

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        address = address or None
        self._limit = workers
        self._shared: dict[Path, shared_files.Shared] = {}
        self._placing, self._looked = Placing(), -LOOK
        self._folder: Path | None = None
        self._lock: FileLock | None = None
        self.local = address is None
        self._ray = import_ray()
        if self._ray.is_initialized():
            raise RemoteError("this process uses Ray already; one Ray engine at a time, and no ray.init() before it")
        try:
            self._start(address)
        except BaseException:  # Ctrl-C, too
            self.close()
            raise
        self._task = self._ray.remote(_work)

    @property
    def workers(self) -> int:  # type: ignore[override]
        """Items at a time, now."""
        return self._limit or self._look().room(Needs())

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Outcomes:
        queue, busy = iter(items), dict[Any, _Job]()
        needs_of = getattr(function, "needs", lambda _item: Needs())
        sent = self._ray.put(function)
        with self._ending(busy):
            while True:
                if self._look().is_hopeless(ANY):
                    raise RemoteError(f"the Ray cluster has had no node that works for {PATIENCE / 60:.0f} minutes")
                while len(busy) < self._room(busy) and (item := next(queue, None)) is not None:
                    needs = needs_of(item)
                    if self._look().is_hopeless(self._look().bounded(needs)):
                        yield _impossible(item, needs)
                        continue
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
                        yield _impossible(job.item, job.needs)

    def share(self, path: Path) -> shared_files.Shared:
        if self.local:
            return shared_files.Shared(path)
        if path not in self._shared:
            try:
                self._shared[path] = shared_files.share(path, self._ray.put, _get, PART)
            except self._ray.exceptions.RayError as error:  # its store and its disk are full
                raise OutputError(f"can't give {path} to the Ray cluster: {_one_line(error)}") from None
        return self._shared[path]

    def close(self) -> None:
        try:
            self._ray.shutdown()
        finally:
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._lock:
                self._lock.release()

    def _start(self, address: str | None) -> None:
        """Start a cluster on this machine, or join one."""
        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # else each start praises its token
        if address is None:
            self._folder, self._lock = make_folder()
            quiet |= {"include_dashboard": False, "_temp_dir": str(self._folder)}
            quiet |= {"num_cpus": max(self._limit or 1, cores())}
        try:
            if address and ("://" in address or address == "local"):
                raise ValueError("it should be HOST:PORT or auto, and the driver on a node of it (no Ray Client)")
            if address and (place := re.fullmatch(r"(.+):(\d+)", address)):  # Ray itself tries for minutes
                socket.create_connection((place[1], int(place[2])), CONNECT).close()
            with signals_as_before(), surroundings(self.local):
                self._ray.init(address=address or "local", **quiet)
        except (RuntimeError, ValueError, OSError, OverflowError) as error:
            cause = f" ({_one_line(error.__cause__)})" if error.__cause__ else ""
            where = f"at {address}" if address else "on this machine"
            raise RemoteError(f"no Ray cluster {where}: {_one_line(error)}{cause}") from None

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
        except (self._ray.exceptions.RayTaskError, self._ray.exceptions.RaySystemError) as raised:
            return Outcome(job.item, error=str(raised))  # outside the function: what it takes or gives can't travel
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
            self._placing.see({node["NodeID"]: node["Resources"] for node in self._ray.nodes() if node["Alive"]})
            self._looked = time.monotonic()
        return self._placing

    def _room(self, busy: dict[Any, _Job]) -> int:
        """How many jobs like the last one are wanted at a time."""
        if self._limit or not busy:
            return self.workers
        return self._look().room(next(reversed(busy.values())).needs)

    @contextmanager
    def _ending(self, busy: dict[Any, _Job]) -> Iterator[None]:
        """Stop the jobs that are under way when the block ends.

        Not after Ctrl-C, when the engine is closed next, which stops all: a task that is done just when it is cancelled
        makes Ray end the driver (seen).
        """
        try:
            yield
        except KeyboardInterrupt:
            busy.clear()
            raise
        finally:
            self._cancel(list(busy))

    def _cancel(self, references: list[Any]) -> None:
        """Stop jobs at once, and wait until they are."""
        if not self._ray.is_initialized():  # the engine is closed, which stopped them
            return
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


def _impossible(item: Any, needs: Needs) -> Outcome:
    return Outcome(item, error=f"no node of the Ray cluster has {said(needs)}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
