"""The folder of `tune`: what it was made of, how much time it has taken, and where everything is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skythaw.bundle.bundle_file import ABOUT
from skythaw.errors import OutputError
from skythaw.machine.files import replacing
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
        return self.path / "larger-done"

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

    def whole_within(self, budget: float) -> bool:
        """Whether it is `whole`, and a budget in seconds is no larger than the one that it was made with."""
        answer = self.read_answer() if self.whole else None
        return answer is not None and bool(answer.get("largest") or budget <= answer.get("budget_seconds", 0.0))

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
        if not (self.run / "ledger.sqlite").is_file():
            return False
        with Ledger.read(self.run) as ledger:
            return any(entry.state == "done" for entry in ledger.entries())

    def discard_images(self) -> None:
        """Take back an import that can't be used, and a folder in which there is no more than that."""
        if not self.path.is_dir():
            return
        self.cutouts.unlink(missing_ok=True)
        if not set(self.path.iterdir()) - {self._state}:
            self._state.unlink(missing_ok=True)
            self.path.rmdir()

    def larger_is_done(self) -> None:
        """Put the larger study in the place of the one before. From the first step on, a kill leaves no way back."""
        self.larger_run.rename(self._larger_done)
        self.settle_larger()

    def settle_larger(self) -> None:
        """Go on where `larger_is_done` was killed, if it was."""
        before = self.path / "smaller"
        if self._larger_done.is_dir():
            if self.larger_study.is_file():
                self.larger_study.replace(self.study)
            if self.run.is_dir():
                shutil.rmtree(before, ignore_errors=True)
                self.run.rename(before)
            self._larger_done.rename(self.run)
        shutil.rmtree(before, ignore_errors=True)

    @property
    def _state(self) -> Path:
        return self.path / "tune.json"

    def open(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the folder says of an earlier call with the same request; empty where it is new.

        Raises
        ------
        OutputError
            It is of another request, or is none of `tune` and not empty.
        """
        if not self.path.exists():
            return {}
        if not self._state.is_file():
            if not self.path.is_dir() or any(self.path.iterdir()):
                raise OutputError(f"{self.path} is there already and not made by skythaw tune: choose another --out")
            return {}
        try:
            kept: dict[str, Any] = json.loads(self._state.read_text(encoding="utf-8"))
            before = dict(kept["request"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"can't read {self._state}: {error}; choose another --out") from None
        for name, value in request.items():
            if before.get(name) != value:
                raise OutputError(
                    f"{self.path} is of another run, whose {name} is {_said(before.get(name))} and not {_said(value)}: "
                    "choose another --out"
                )
        self.settle_larger()
        return kept

    def keep(self, request: Mapping[str, Any], seconds: float, **more: Any) -> None:
        """Keep what the folder is of, and how long it has taken."""
        with replacing(self._state) as file:
            content = {"schema": SCHEMA, "request": dict(request), "seconds": round(seconds, 1), **more}
            file.write((json.dumps(content, indent=1) + "\n").encode())

    def settle(self, request: Mapping[str, Any], seconds: float) -> None:
        """Keep how long it has taken, or leave no folder where there is nothing in it yet."""
        if any(each.exists() for each in (self.cutouts, self.look, self.study)):
            self.keep(request, seconds)
        else:
            self.discard_images()


def _said(value: Any) -> str:
    return "not given" if value in (None, [], {}) else str(value)
