"""Several processes on this machine. Each one is like a process that was started afresh: nothing leaks into it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from typing import Any

from skythaw.engines import fork_server
from skythaw.engines.engine import Engine, Outcome, Outcomes, answer_items
from skythaw.engines.fork_server import ForkedProcess, interrupts_held, running_server

CONTEXT = get_context("spawn")
GRACE = 5.0
"""seconds a worker is given to end by itself before it is killed"""


class Processes(Engine):
    """A fixed number of worker processes; one that dies (out of memory, killed) costs its item and is replaced.

    Workers are forked from a server that has torch and timm loaded. Where there is none, they are started afresh.
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = max(1, workers)
        self._idle: list[_Worker] = []

    @classmethod
    def warm_up(cls) -> None:
        if fork_server.AVAILABLE:
            running_server()

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Outcomes:
        queue = iter(items)
        busy: dict[Any, _Worker] = {}
        try:
            while True:
                while len(busy) < self.workers and (item := next(queue, None)) is not None:
                    worker = self._idle.pop() if self._idle else _Worker()
                    busy[worker.pipe] = worker
                    worker.give(function, item)
                if not busy:
                    return
                for pipe in connection.wait(list(busy)):
                    outcome = busy[pipe].take()
                    if outcome is None:
                        continue
                    worker = busy.pop(pipe)
                    if worker.alive:
                        self._idle.append(worker)
                    yield outcome
        finally:
            if busy:
                self._stop(list(busy.values()))

    def close(self) -> None:
        self._stop([])

    def _stop(self, busy: list[_Worker]) -> None:
        for worker in [*self._idle, *busy]:
            worker.stop()
        self._idle = []


class _Worker:
    """The parent's side of one worker process. The process says first that it is there; then it gets an item."""

    def __init__(self) -> None:
        self.process, self.pipe = _forked() if fork_server.AVAILABLE else _spawned()
        self.ready = False
        self.alive = True
        self._task: tuple[Callable[[Any], Any], Any]

    def give(self, function: Callable[[Any], Any], item: Any) -> None:
        self._task = function, item
        if self.ready:
            self._send(self._task)

    def take(self) -> Outcome | None:
        """The outcome of the item given last; None if the worker has just begun with it."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of its answer
            self.alive = False
            self.process.join()
            self.pipe.close()
            return Outcome(self._task[1], error=f"the worker process died: {_reason(self.process.exitcode)}", died=True)
        if self.ready:
            return Outcome(self._task[1], *message)
        self.ready = True
        if isinstance(self.process, ForkedProcess):
            self.process.pid = message
            self._send(self.process.preparation)
        self._send(self._task)
        return None

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # it died meanwhile: take() will say so
            self.pipe.send(message)


def _forked() -> tuple[Any, Any]:
    process = running_server().fork()
    return process, process.pipe


def _spawned() -> tuple[Any, Any]:
    pipe, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
    resource_tracker.ensure_running()  # which lets signals through when it starts
    with interrupts_held():
        process.start()
    theirs.close()
    return process, pipe


def _work(pipe: Any) -> None:
    """The side of a worker that was started afresh. Ctrl-C is the parent's business."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    pipe.send(os.getpid())
    answer_items(pipe)


def _die_with_parent() -> None:
    """End this process as soon as its parent is gone, however it went: nobody would take the answer."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _reason(exitcode: int | None) -> str:
    if exitcode is None:
        return "for a reason that is not known"
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"exit code {exitcode}"
