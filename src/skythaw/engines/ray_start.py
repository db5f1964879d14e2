"""What a Ray cluster finds where it starts: its module, environment, signals, and the folder for its files."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from skythaw.errors import UnknownNameError

FOLDER, LOCK = "skythaw-ray-", "lock"
"""how the folders for Ray's own files begin; a file in them that the driver holds locked"""
LONGEST_FOLDER = 32
"""characters: the paths of Ray's sockets below it must stay within the system's 107"""
WIDE = "ENABLE_RAY_CLUSTER"
"""the constant of Ray's by which it listens on all interfaces"""


def import_ray() -> Any:
    """Ray, which is told before to send no statistics."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise UnknownNameError("the engine ray needs the package ray: pip install 'skythaw[ray]'") from None
    return ray


@contextmanager
def signals_as_before() -> Iterator[None]:
    """Keep what SIGTERM does, which Ray changes when it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def surroundings(local: bool) -> Iterator[None]:
    """What a cluster that starts in the block finds.

    Its processes find the modules that this one finds. One that is `local` keeps to the loopback interface, which Ray
    decides when it is imported, and has a token of its own where the user has none, which Ray would leave in ~/.ray.
    """
    from ray._private import ray_constants

    ours = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if local:
        ours["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        if not (os.environ.get("RAY_AUTH_TOKEN_PATH") or Path("~/.ray/auth_token").expanduser().exists()):
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # for good: Ray remembers it
    before, wide = {name: os.environ.get(name) for name in ours}, getattr(ray_constants, WIDE, None)
    os.environ.update(ours)
    if local and wide is not None:
        setattr(ray_constants, WIDE, False)
    try:
        yield
    finally:
        if wide is not None:
            setattr(ray_constants, WIDE, wide)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def make_folder() -> tuple[Path, FileLock]:
    """A folder for the files of a cluster of ours, with its lock held; those that killed drivers left are removed."""
    place = Path(tempfile.gettempdir() if len(tempfile.gettempdir()) <= LONGEST_FOLDER else "/tmp")
    for each in place.glob(f"{FOLDER}*"):
        try:
            with FileLock(each / LOCK, timeout=0):
                shutil.rmtree(each, ignore_errors=True)
        except (Timeout, OSError):  # its driver lives, or another user's does
            continue
    made = Path(tempfile.mkdtemp(prefix=f".{FOLDER}", dir=place))  # seen by nobody until it is locked
    lock = FileLock(made / LOCK)
    lock.acquire(timeout=0)
    return made.rename(made.with_name(made.name[1:])), lock
