"""One `tune` that the start page began, as a process of its own: how far it is, how it ended, and how to stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skythaw.api.choose_study import TuneRequest
from skythaw.api.tune_folder import TuneFolder
from skythaw.errors import OutputError
from skythaw.machine.files import temporary_folder
from skythaw.web.form_words import in_form_words
from skythaw.web.tune_process import BAD_INPUT

COMMAND = (sys.executable, "-P", "-m", "skythaw.web.tune_process")
"""-P: the folder in which the service runs is none to import from"""
SHOWN = 200
"""lines that are shown of what it said"""
TAIL = 1 << 16
"""bytes from the end of a file that are looked at"""


@dataclass(frozen=True)
class TuneState:
    """How far it is."""

    phase: Literal["running", "stopping", "done", "stopped", "failed"]
    said: list[str]
    """what `tune` said, line by line, in the words of the form"""
    why: str
    """it failed, in one line"""
    seconds: float
    """of the budget, all of it"""
    left: float
    """seconds of it that are left"""
    training: dict[str, Any]
    """the last epoch or cell that it told of: ``training``, ``epoch``, ``macro_f1``, ``done``, ``of``"""
    answer: str
    """the answer so far, if there is one"""

    @property
    def ended(self) -> bool:
        """Whether its process is gone."""
        return self.phase not in ("running", "stopping")


class StartedTune:
    """Begins `tune`; raises `OutputError` where its folder is of something else, or the machine is full.

    Parameters
    ----------
    request
        the images and all else but the time
    seconds
        the budget
    """

    def __init__(self, request: TuneRequest, seconds: float) -> None:
        self.request, self.folder = request, TuneFolder(request.out)
        self._seconds, self._begun = seconds, time.monotonic()
        self._used_before = float(self.folder.open(request.told).get("seconds", 0.0))
        self._opened = ExitStack()
        self._logs = self._opened.enter_context(temporary_folder())
        self._stopping = False
        wanted = {
            "images": str(request.images),
            "out": str(request.out),
            "labels": None if request.labels is None else str(request.labels),
            "table": None if request.table is None else str(request.table),
            "skip_broken": request.skip_broken,
            "cache": str(request.cache),
            "budget": seconds,
        }
        try:
            with self._log("events").open("wb") as events, self._log("said").open("wb") as said:
                # in a session of its own, for which a Ctrl-C at the service's terminal is not meant
                self._process = subprocess.Popen(
                    COMMAND, stdin=subprocess.PIPE, stdout=events, stderr=said, start_new_session=True
                )
        except OSError as error:
            self._opened.close()
            raise OutputError(f"the run can't be begun: {error.strerror or error}") from None
        self._order(json.dumps(wanted).encode() + b"\n")

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Let it write the best so far, and end; when it is told so a second time, it ends at once."""
        if self._stopping:
            self._kill()
        self._stopping = True
        self._order(None)

    def close(self, patience: float) -> None:
        """Stop it, and wait some seconds for its end; it ends by itself where that takes longer."""
        if self.running and not self._stopping:
            self.stop()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._opened.close()

    def state(self) -> TuneState:
        """How far it is."""
        code = self._process.poll()
        said = [in_form_words(line) for line in self._lines("said")]
        return TuneState(
            phase=self._phase(code),
            said=said,
            why=_reason(code, said) if code and not self._stopping else "",
            seconds=self._seconds,
            left=max(0.0, self._seconds - self._used_before - (time.monotonic() - self._begun)),
            training=self._training(),
            answer="" if code is None else self._answer(),
        )

    def _phase(self, code: int | None) -> Literal["running", "stopping", "done", "stopped", "failed"]:
        if code is None:
            return "stopping" if self._stopping else "running"
        if code == 0:
            return "done"
        return "stopped" if self._stopping else "failed"

    def _training(self) -> dict[str, Any]:
        for line in reversed(self._lines("events")):
            with suppress(ValueError):
                found: dict[str, Any] = json.loads(line)
                return found
        return {}

    def _answer(self) -> str:
        content = self.folder.read_answer()
        return content["answer"] if content else ""

    def _log(self, name: str) -> Path:
        return self._logs / name

    def _lines(self, name: str) -> list[str]:
        """The last whole lines of a log."""
        with suppress(OSError), self._log(name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            text = file.read().decode(errors="replace")
            return [line for line in text.splitlines() if line.strip()][-SHOWN:]
        return []

    def _order(self, line: bytes | None) -> None:
        """Send it a line; None: there will be no more."""
        pipe = self._process.stdin
        with suppress(OSError, ValueError):  # it is gone
            if pipe and line:
                pipe.write(line)
                pipe.flush()
            elif pipe:
                pipe.close()

    def _kill(self) -> None:
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _reason(code: int, said: list[str]) -> str:
    """Why it failed, in one line."""
    if code < 0:
        name = signal.Signals(-code).name
        return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    last = said[-1] if said else f"exit code {code}"
    return last.removeprefix("error: ") if code == BAD_INPUT else f"a defect of skythaw: {last}"
