"""A service over a small run and its bundle, in this process or as one of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
from starlette.types import ASGIApp

from skythaw.web.request_guard import Rules
from skythaw.web.web_app import make_app, open_service

TOKEN = "a-token-for-the-tests-0123"
LARGEST = 1_000_000
"""bytes of an upload"""


def rules(**changes) -> Rules:
    return Rules(**{"hosts": frozenset({"test", "127.0.0.1"}), "largest": LARGEST, "token": None} | changes)


@cache
def app_of(folder: Path, **changes) -> ASGIApp:
    """The service over a run and a bundle, which is loaded once."""
    return make_app(open_service([folder / "run"], [folder / "bundle"], rules(**changes)))


def make_client(folder: Path, **changes) -> httpx.AsyncClient:
    """A client of the service in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app_of(folder, **changes)), base_url="http://test")


@dataclass
class Served:
    """A service that runs as a process."""

    process: subprocess.Popen
    address: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@contextmanager
def serving(folder: Path, *arguments: str, environment: dict[str, str] | None = None):
    """`skythaw serve` with some arguments, until the block ends; then Ctrl-C must stop it."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "skythaw", "serve", "--port", "0", "--max-upload", str(LARGEST / 1e6), *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    try:
        end = time.monotonic() + 180
        while not (found := re.search(r"http://(\S+)/ ", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, "it did not start"
            time.sleep(0.05)
        yield Served(process, f"http://{found.group(1)}", log)
    finally:
        process.send_signal(2)
        process.wait(120)
