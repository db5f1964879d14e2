"""A server process that has the slow libraries loaded, and from which workers are forked.

::

    this process --starts--> server: loads libraries, waits --forks--> workers, each with a pipe to this process

Importing torch and timm takes seconds of processor time, again and again in every worker that is started afresh. A
forked worker has them at once. The server computes nothing, has a single thread when it forks, and never touches a GPU:
so a fork copies nothing that can't be copied. It loads while this process still reads its data, it serves every engine
of this process, and it ends with this process, however that ends.

A worker gets the environment, the current folder and ``sys.path`` that this process has when the worker is started, and
its main module where its items are of that. Libraries read some variables of the environment only once, when they are
loaded. If one of those (`READ_WHEN_LOADED`), ``sys.path`` or the set of allowed CPUs has changed, a new server replaces
the old one.

This file is this process's side; `skythaw.engines.forked_worker` is the other side.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection
from typing import Any

FIRST = ("torch", "timm", "jaxtyping", "pydantic", "platformdirs")
"""What workers need before they can begin. pyarrow is not here: it starts a thread, and it loads quickly."""
THEN = ("sklearn.metrics", "sklearn.linear_model")
"""What they need later: it is loaded, too, if nobody waits for a worker."""
READ_WHEN_LOADED = ("OMP_", "GOMP_", "MKL_", "OPENBLAS_", "LD_", "MALLOC_", "GLIBC_", "PYTHON", "TORCH_", "HF_", "NPY_")
"""Beginnings of the names of environment variables that libraries read once, when they are loaded."""
AVAILABLE = sys.platform == "linux"
"""Whether there is a fork server. On macOS a fork is not safe after system libraries were loaded; Windows has none."""
PAUSE = 0.01
"""seconds between two looks at whether a worker has ended"""

_lock = threading.RLock()
_running: list[ForkServer] = []
"""the server of this process, if there is one"""


def running_server() -> ForkServer:
    """The server of this process. It is started if there is none that will do; this does not wait until it is ready."""
    with _lock, interrupts_held():
        if not _running or not _running[0].usable:
            _running[:] = [ForkServer()]
        return _running[0]


class ForkServer:
    """Our side of a server. The server ends when nothing refers to this object, and with this process."""

    def __init__(self, first: Sequence[str] = FIRST, then: Sequence[str] = THEN) -> None:
        self._surroundings = _surroundings()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        life, held = os.pipe()
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from skythaw.engines.forked_worker import serve; "
            f"serve({theirs.fileno()}, {life}, {first!r}, {then!r})"
        )
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        try:
            self.process = subprocess.Popen(
                [os.fsdecode(spawn.get_executable()), *flags, "-c", program],
                pass_fds=(theirs.fileno(), life),
                stdin=subprocess.DEVNULL,
            )
        finally:
            theirs.close()
            os.close(life)
        self._requests = ours
        self.end = weakref.finalize(self, _end, os.getpid(), self.process, ours, held)

    @property
    def usable(self) -> bool:
        """Whether it runs, and its workers are like those that are started afresh now."""
        return self.process.poll() is None and self._surroundings == _surroundings()

    def fork(self, *, has_main: bool = True) -> ForkedProcess:
        """Ask for a worker, with our main module or without. This does not wait: the server may still be loading."""
        pipe, theirs = Pipe()
        with theirs, suppress(OSError):  # the server was killed: the pipe will say so
            socket.send_fds(self._requests, [b"fork"], [theirs.fileno()])
        return ForkedProcess(self, pipe, has_main)

    def status(self, pid: int) -> int | None:
        """The exit code of a worker; None while it runs. Raises `OSError` if the server is gone."""
        with _lock:
            self._requests.send(str(pid).encode())
            answer = self._requests.recv(64)
        if not answer:
            raise ConnectionError("the fork server is gone")
        return None if answer == b"runs" else int(answer)


class ForkedProcess:
    """A worker process, with those methods of `multiprocessing.Process` that an engine needs."""

    def __init__(self, server: ForkServer, pipe: Connection, has_main: bool) -> None:
        self.server, self.pipe = server, pipe
        self.preparation = dict(os.environ), _preparation(has_main)
        """what it needs to know before its first item"""
        self.pid: int | None = None
        """None until it has sent it through the pipe. If the pipe is closed before, the process ends by itself."""
        self.exitcode: int | None = None

    def is_alive(self) -> bool:
        if self.pid is None or self.exitcode is not None:
            return False
        try:
            self.exitcode = self.server.status(self.pid)
        except OSError:  # without its server nobody knows how it ended
            return _exists(self.pid)
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_alive() and (deadline is None or time.monotonic() < deadline):
            time.sleep(PAUSE)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the block is over; a process started in it never sees any, for it inherits that.

    (Ignoring it instead would lose one that comes just now.)
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a child can't inherit it either
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _preparation(has_main: bool) -> dict[str, Any]:
    """What multiprocessing tells a process that is started afresh: paths, arguments, folder, main module."""
    found = spawn.get_preparation_data("worker")
    told = {name: value for name, value in found.items() if has_main or not name.startswith("init_main_from")}
    return {**told, "authkey": bytes(found["authkey"])}


def _surroundings() -> tuple[Any, ...]:
    """What decides which libraries are loaded, and how."""
    read = {name: value for name, value in os.environ.items() if name.startswith(READ_WHEN_LOADED)}
    return sys.path.copy(), os.sched_getaffinity(0), read


def _end(owner: int, process: subprocess.Popen[bytes], requests: socket.socket, held: int) -> None:
    """Close this process's side; workers end when `held` is closed. A process forked from the owner kills nothing."""
    requests.close()
    os.close(held)
    if os.getpid() == owner:
        process.kill()
        process.wait()
    else:
        process.returncode = 0


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _forget() -> None:
    """In a process that was forked from this one: the server is not its own."""
    for server in _running:
        server.end()
    _running.clear()
    _lock.release()


if AVAILABLE:
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget)
