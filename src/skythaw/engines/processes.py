"""Several processes on this machine, started afresh (spawned), so that nothing of the parent leaks into them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from typing import Any

from skythaw.engines.engine import Engine, Outcome, Outcomes, attempt

CONTEXT = get_context("spawn")
GRACE = 5.0
"""seconds a worker is given to end by itself before it is killed"""


class Processes(Engine):
    """A fixed number of worker processes; one that dies (out of memory, killed) costs its item and is replaced."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = max(1, workers)
        self._idle: list[_Worker] = []

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Outcomes:
        queue = iter(items)
        busy: dict[Any, _Worker] = {}
        try:
            while True:
                while len(busy) < self.workers and (item := next(queue, None)) is not None:
                    worker = self._idle.pop() if self._idle else _Worker()
                    worker.give(function, item)
                    busy[worker.pipe] = worker
                if not busy:
                    return
                for pipe in connection.wait(list(busy)):
                    worker = busy.pop(pipe)
                    outcome = worker.take()
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
    """The parent's side of one worker process."""

    def __init__(self) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
        with _interrupts_held():
            self.process.start()
        theirs.close()
        self.item: Any = None
        self.alive = True

    def give(self, function: Callable[[Any], Any], item: Any) -> None:
        self.item = item
        with suppress(OSError):  # it died meanwhile: take() will say so
            self.pipe.send((function, item))

    def take(self) -> Outcome:
        """The outcome of the item given last."""
        try:
            value, error = self.pipe.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of its answer
            self.alive = False
            self.process.join()
            self.pipe.close()
            return Outcome(self.item, error=f"the worker process died: {_reason(self.process.exitcode)}", died=True)
        return Outcome(self.item, value, error)

    def stop(self) -> None:
        self.process.terminate()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _serve(pipe: Any) -> None:
    """The worker's side: answer items until the pipe closes. Ctrl-C is the parent's business."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            function, item = pipe.recv()
        except EOFError:
            return
        outcome = attempt(function, item)
        pipe.send((outcome.value, outcome.error))


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the block is over; a process started in it never sees any, for it inherits that.

    (Ignoring it instead would lose one that comes just now.)
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a child can't inherit it either
        yield
        return
    resource_tracker.ensure_running()  # which lets signals through when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent() -> None:
    """End this process as soon as its parent is gone, however it went: nobody would take the answer."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _reason(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"exit code {exitcode}"
