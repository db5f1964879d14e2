"""Several processes on this machine. Each one is like a process that was started afresh: nothing leaks into it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.reduction import ForkingPickler
from typing import Any

from skythaw.engines import fork_server
from skythaw.engines.engine import Engine, Outcome, Outcomes, answer_items
from skythaw.engines.fork_server import ForkedProcess, interrupts_held, running_server

CONTEXT = get_context("spawn")
MAIN = b"__main__"
"""is in the pickle of what the main module defines"""
PULSE = 0.5
"""seconds from one call of `meanwhile` to the next"""
GRACE = 5.0
"""seconds a worker is given to end by itself before it is killed"""


class Processes(Engine):
    """A fixed number of worker processes; one that dies (out of memory, killed) costs its item and is replaced.

    Workers are forked from a server that has torch and timm loaded. Where there is none, they are started afresh.
    """

    tells = True

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
                    task = bytes(ForkingPickler.dumps((function, item)))
                    worker = self._worker(of_main=MAIN in task)
                    busy[worker.pipe] = worker
                    worker.give(item, task)
                if not busy:
                    return
                ready = connection.wait(list(busy), PULSE if self.meanwhile else None)
                if self.meanwhile:
                    self.meanwhile()
                for pipe in ready:
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

    def _worker(self, *, of_main: bool) -> _Worker:
        """A worker that is idle, or a new one; it has the main module of this process where a task is of that.

        Else it has none: a script that calls skythaw then needs no ``if __name__ == "__main__"``.
        """
        for dead in [each for each in self._idle if each.pipe.poll()]:  # idle ones say nothing: it is the pipe's end
            self._idle.remove(dead)
            dead.stop()
        fit = next((each for each in self._idle if each.has_main or not of_main), None)
        if fit is None:
            return _Worker(of_main)
        self._idle.remove(fit)
        return fit

    def close(self) -> None:
        self._stop([])

    def _stop(self, busy: list[_Worker]) -> None:
        for worker in [*self._idle, *busy]:
            worker.stop()
        self._idle = []


class _Worker:
    """The parent's side of one worker process. The process says first that it is there; then it gets an item."""

    def __init__(self, has_main: bool) -> None:
        self.process, self.pipe = _forked(has_main) if fork_server.AVAILABLE else _spawned(has_main)
        self.has_main = has_main
        self.ready = False
        self.alive = True
        self._item: Any
        self._task: bytes

    def give(self, item: Any, task: bytes) -> None:
        """Give it an item, and what is sent for it: the function and the item, pickled."""
        self._item, self._task = item, task
        if self.ready:
            self._send(task)

    def take(self) -> Outcome | None:
        """The outcome of the item given last; None if the worker has just begun with it."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of its answer
            self.alive = False
            self.process.join()
            self.pipe.close()
            return Outcome(self._item, error=f"the worker process died: {_reason(self.process.exitcode)}", died=True)
        if self.ready:
            return Outcome(self._item, *message)
        self.ready = True
        if isinstance(self.process, ForkedProcess):
            self.process.pid = message
            self._send(bytes(ForkingPickler.dumps(self.process.preparation)))
        self._send(self._task)
        return None

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(GRACE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # it died meanwhile: take() will say so
            self.pipe.send_bytes(message)


def _forked(has_main: bool) -> tuple[Any, Any]:
    process = running_server().fork(has_main=has_main)
    return process, process.pipe


def _spawned(has_main: bool) -> tuple[Any, Any]:
    pipe, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
    resource_tracker.ensure_running()  # which lets signals through when it starts
    with interrupts_held(), nullcontext() if has_main else _nameless_main():
        process.start()
    theirs.close()
    return process, pipe


@contextmanager
def _nameless_main() -> Iterator[None]:
    """The main module looks like that of an interactive session, which a process that is started afresh imports not."""
    main = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


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
