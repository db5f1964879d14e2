"""The fork server's own side, and its workers': see `skythaw.engines.fork_server`."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import select
import socket
import sys
import threading
import traceback
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import spawn
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from skythaw.engines.engine import answer_items


def serve(requests: int, life: int, first: Iterable[str], then: Iterable[str]) -> NoReturn:
    """Load libraries, then fork a worker for each pipe that comes, until the parent is gone.

    Parameters
    ----------
    requests
        descriptor of a socket. A message with the end of a pipe asks for a worker at that pipe; a worker's id asks
        how that worker ended. The end of messages is the end of the parent.
    life
        descriptor of the end of a pipe that nobody writes to, and that is closed when the parent is gone
    first
        modules that are loaded in any case
    then
        modules that are loaded as long as nobody asks for a worker
    """
    os.set_inheritable(life, False)
    gc.disable()  # it would look through all that is loaded, again and again: a quarter of the time
    with socket.socket(fileno=requests) as parent:
        for name in first:
            _load(name)
        for name in then:
            if not select.select([parent], [], [], 0)[0]:
                _load(name)
        _end_threads()
        while True:
            message, pipes, *_ = socket.recv_fds(parent, 64, 1)
            if not message:
                os._exit(0)
            if not pipes:
                parent.send(_status(int(message)))
            elif os.fork():
                os.close(pipes[0])
            else:
                parent.close()
                os.set_inheritable(pipes[0], False)
                _work(Connection(pipes[0]), life)


def _load(name: str) -> None:
    with suppress(Exception):  # the worker that needs it will say what is wrong
        importlib.import_module(name)


def _end_threads() -> None:
    """End the threads that OpenBLAS started when it was loaded.

    It ends them itself before a fork, and starts as many again when it next computes: so one fork is enough. (If it
    were loaded with a single thread, the workers would have a single one, too.)
    """
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _status(pid: int) -> bytes:
    found, status = os.waitpid(pid, os.WNOHANG)
    return str(os.waitstatus_to_exitcode(status)).encode() if found else b"runs"


def _work(pipe: Connection, life: int) -> NoReturn:
    """Be a worker until its pipe is closed."""
    code = 0
    gc.freeze()  # what is there stays: to look through it would copy its memory
    gc.enable()
    try:
        threading.Thread(target=_die_with_parent, args=(life,), daemon=True).start()
        pipe.send(os.getpid())
        _become(*pipe.recv())
        answer_items(pipe)
    except (EOFError, ConnectionError):  # nobody wants it any more
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _become(environment: dict[str, str], preparation: dict[str, Any]) -> None:
    """Take over what a process that is started afresh would have: environment, paths, folder, main module, chance."""
    os.environ.clear()
    os.environ.update(environment)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    process: Any = multiprocessing.current_process()
    process._inheriting = True  # so multiprocessing refuses to start processes while the main module is imported
    try:
        spawn.prepare(preparation)
    finally:
        del process._inheriting


def _die_with_parent(life: int) -> None:
    """End this process as soon as its parent is gone, however that ended: nobody would take the answer."""
    os.read(life, 1)
    os._exit(1)
