"""Functions that engines map in tests: importable from another process."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path


def square(x):
    return x * x


def fail_on_three(x):
    if x == 3:
        raise ValueError("three is refused")
    return x


def die_on_three(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def die_while_answering(x):
    """The worker kills itself when half of its answer is in the pipe."""
    if x == 3:
        Connection._send = _half
        return b"x" * 200_000
    return x


def _half(pipe, message):
    os.write(pipe.fileno(), message if len(message) == 4 else message[: len(message) // 2])  # its length comes first
    if len(message) > 4:
        os.kill(os.getpid(), signal.SIGKILL)


def pid_after_a_while(x):
    time.sleep(0.2)
    return os.getpid()


def write_pid_and_sleep(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


def overlap(folder):
    """How many workers were inside this function at once, as seen on entering."""
    mine = Path(folder, str(os.getpid()))
    mine.touch()
    seen = len(list(Path(folder).iterdir()))
    time.sleep(0.3)
    mine.unlink()
    return seen


def surroundings(names):
    """What a worker sees of the process that started it."""
    return {name: os.environ.get(name) for name in names}, str(Path.cwd()), sys.path


def threads(_):
    """Of each BLAS once it has computed, and whether CUDA was touched before."""
    import numpy
    import threadpoolctl
    import torch

    touched = torch.cuda.is_initialized()
    (numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum()
    return sorted(each["num_threads"] for each in threadpoolctl.threadpool_info()), touched


def chance(_):
    """What the generators give that every process has without asking."""
    import random

    import numpy

    time.sleep(0.2)  # so that another worker takes the next item
    return random.random(), numpy.random.random()
