"""The folder of `tune`: what it was made of, how much time it has taken, and where everything is in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from skythaw.api.gather_images import file_marks, require_same
from skythaw.bundle.bundle_file import ABOUT
from skythaw.errors import OutputError
from skythaw.machine.files import replacing, require_text, writing
from skythaw.study.ledger import Ledger

SCHEMA = 1


@dataclass(frozen=True)
class TuneFolder:
    """Where things are; programs may rely on `report`, `classifier`, `study` and `answer`."""

    path: Path

    @property
    def report(self) -> Path:
        """The report as a web page."""
        return self.path / "report.html"

    @property
    def classifier(self) -> Path:
        """The bundle."""
        return self.path / "classifier"

    @property
    def study(self) -> Path:
        """The study file."""
        return self.path / "study.toml"

    @property
    def answer(self) -> Path:
        """The answer for programs."""
        return self.path / "answer.json"

    @property
    def run(self) -> Path:
        """The run folder of the study."""
        return self.path / "run"

    @property
    def larger_study(self) -> Path:
        """The study file of a larger study that is under way, where time was left."""
        return self.path / "larger.toml"

    @property
    def larger_run(self) -> Path:
        """Its run folder."""
        return self.path / "larger"

    @property
    def _larger_done(self) -> Path:
        return self.path / ".larger-done"

    @property
    def look(self) -> Path:
        """The run folder of what was tried first, to choose the network, the crop and the size."""
        return self.path / "look"

    @property
    def cutouts(self) -> Path:
        """The images that were imported; not there where they were cutouts already."""
        return self.path / "cutouts.parquet"

    @property
    def whole(self) -> bool:
        """Whether report, classifier and answer are there, and the answer can be read."""
        return self.report.is_file() and (self.classifier / ABOUT).is_file() and self.read_answer() is not None

    def ended_within(self, budget: float) -> bool:
        """Whether a call with this budget, in seconds, has nothing left to do."""
        state, answer = self._read_state(), self.read_answer()
        if not state.get("complete") or not self.whole or answer is None:
            return False
        return not self.may_grow or answer.get("largest") is True or budget <= state.get("budget", budget)

    @property
    def may_grow(self) -> bool:
        """Whether a larger study may take the place of the study that is there.

        No where a user has changed the study file, or keeps something of his own under the name of the larger one.
        """
        others = self.larger_study.exists() or self.larger_run.exists()
        return self.marked("planned") and (self._read_state().get("larger") is not None or not others)

    def marked(self, mark: Literal["planned", "searched", "written"]) -> bool:
        """Whether the study file, as it is now, was planned by `tune`, was searched, or has its report written."""
        now = self.study_mark
        return now is not None and self._read_state().get(mark) == now

    @property
    def study_mark(self) -> str | None:
        """What tells the study file from a changed one; None where there is none."""
        return _mark(self.study.read_bytes()) if self.study.is_file() else None

    def read_answer(self) -> dict[str, Any] | None:
        """What `answer` holds; None where it is not there or damaged."""
        try:
            content = json.loads(self.answer.read_bytes())
            return content if isinstance(content["answer"], str) and "complete" in content else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    @property
    def any_done(self) -> bool:
        """Whether a training of the study is finished."""
        return any_done_in(self.run)

    @property
    def seconds(self) -> float:
        """How long it has taken, all calls together."""
        return float(self._read_state().get("seconds", 0.0))

    def write_answer(self, content: Mapping[str, Any]) -> None:
        """Write `answer`."""
        with replacing(self.answer) as file:
            file.write((json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())

    def discard_images(self) -> None:
        """Take back an import that can't be used, and a folder in which there is no more than that."""
        if not self.path.is_dir():
            return
        self.cutouts.unlink(missing_ok=True)
        if not set(self.path.iterdir()) - {self._state, self._lock}:
            self._state.unlink(missing_ok=True)
            with suppress(OSError):  # some systems take no file away that is open
                self._lock.unlink(missing_ok=True)
                self.path.rmdir()

    def plan(self, text: str) -> None:
        """Write the study file."""
        self.note(planned=_mark(text.encode()))
        with replacing(self.study) as file:
            file.write(text.encode())

    @property
    def larger_begun(self) -> bool:
        """Whether a larger study is under way."""
        begun = self._read_state().get("larger")
        return begun is not None and self.larger_study.is_file() and _mark(self.larger_study.read_bytes()) == begun

    def begin_larger(self, text: str) -> None:
        """Write the study file of a larger study."""
        self.discard_larger()
        self.note(larger=_mark(text.encode()))
        with replacing(self.larger_study) as file:
            file.write(text.encode())

    def discard_larger(self) -> None:
        """Forget a larger study that was begun."""
        if self._read_state().get("larger") is not None and not self._larger_done.exists():
            self.larger_study.unlink(missing_ok=True)
            shutil.rmtree(self.larger_run, ignore_errors=True)
            self.note(larger=None)

    def larger_is_done(self) -> None:
        """Put the larger study in the place of the one before. From the first step on, a kill leaves no way back."""
        self.larger_run.rename(self._larger_done)
        self.settle_larger()

    def settle_larger(self) -> None:
        """Go on where `larger_is_done` was killed, if it was."""
        if self._read_state().get("larger") is None:
            return
        before = self.path / ".smaller"
        if self._larger_done.is_dir():
            if self.larger_study.is_file():
                mark = _mark(self.larger_study.read_bytes())
                self.note(planned=mark, searched=mark, complete=False)
                self.larger_study.replace(self.study)
            if self.run.is_dir():
                shutil.rmtree(before, ignore_errors=True)
                self.run.rename(before)
            self._larger_done.rename(self.run)
        shutil.rmtree(before, ignore_errors=True)
        if not self.larger_study.exists() and not self.larger_run.exists():
            self.note(larger=None)

    @property
    def _begun(self) -> bool:
        """Whether images were taken in, or something was made of them."""
        return any(each.exists() for each in (self.cutouts, self.look, self.study))

    @property
    def _state(self) -> Path:
        return self.path / "tune.json"

    @property
    def _lock(self) -> Path:
        return self.path / ".skythaw-tune.lock"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one who works in the folder while the block lasts; it is made if it isn't there.

        The system drops the lock when the process ends, however it ends.

        Raises
        ------
        OutputError
            Another process works in it, or it can't be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._lock)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise OutputError(
                    f"{self.path}: skythaw is at work there already: wait until it has ended, or choose another --out"
                ) from None
        try:
            yield
        finally:
            lock.release()

    def open(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the folder says of an earlier call with the same request; empty where it is new.

        Raises
        ------
        OutputError
            It is of another request, the images or tables have changed since, or it is none of `tune` and not empty.
        """
        require_text(self.path)
        if not self.path.exists():
            return {}
        if not self._state.is_file():
            if not self.path.is_dir() or set(self.path.iterdir()) - {self._lock}:
                raise OutputError(f"{self.path} is there already and not made by skythaw tune: choose another --out")
            return {}
        kept = self._read_state(whole=True)
        require_same(self.path, kept if self._begun else {"request": kept["request"]}, request)
        searched = kept.get("searched") if self.run.is_dir() and not self._larger_done.exists() else None
        if searched is not None and self.study_mark not in (None, searched):
            raise OutputError(
                f"{self.study} was changed after it was run: skythaw study search {self.study} --out another-folder "
                "runs it as it is now"
            )
        return kept

    def keep(self, request: Mapping[str, Any], seconds: float, **more: Any) -> None:
        """Keep what the folder is of, how long it has taken, and more; what else is kept stays."""
        if not self._begun:
            more["given"] = file_marks(request, self.path)
        self.note(schema=SCHEMA, request=dict(request), seconds=round(seconds, 1), **more)

    def note(self, **more: Any) -> None:
        """Keep this, and what else is kept."""
        content = {**self._read_state(), **more}
        with replacing(self._state) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())

    def _read_state(self, *, whole: bool = False) -> dict[str, Any]:
        """What is kept; nothing where it can't be read, which is an `OutputError` where it has to be whole."""
        try:
            kept: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
            dict(kept["request"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if whole:
                raise OutputError(f"can't read {self._state}: {error}; choose another --out") from None
            return {}
        return kept

    def settle(self, request: Mapping[str, Any], seconds: float) -> None:
        """Keep how long it has taken, or leave no folder where there is nothing in it yet."""
        if self._begun:
            self.keep(request, seconds)
        else:
            self.discard_images()


def any_done_in(run: Path) -> bool:
    """Whether a training of a run folder is finished."""
    if not (run / "ledger.sqlite").is_file():
        return False
    with Ledger.read(run) as ledger:
        return any(entry.state == "done" for entry in ledger.entries())


def _mark(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
