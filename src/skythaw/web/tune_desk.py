"""Where the start page's runs begin: one at a time, inside one folder, and only where the page itself asks for it."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skythaw.api.time_budget import parse_budget
from skythaw.api.tune import OUT, tune_request
from skythaw.api.tune_folder import TuneFolder
from skythaw.errors import SkythawError, SpecError
from skythaw.web.started_tune import StartedTune

FIELDS = {"images": "", "labels": "", "table": "", "budget": "10m", "out": str(OUT), "skip_broken": ""}
"""of the form, and what they hold at first"""
LONGEST = 1000
"""letters of a field"""
FILES = (".parquet", ".zip", ".tar", ".h5", ".hdf5", ".npz")
"""endings of files that the form suggests"""
SUGGESTED = 100
"""folders and files that the form suggests"""
PATIENCE = 10.0
"""seconds that the end of the service waits for a run to write the best so far"""


class BusyDeskError(SkythawError):
    """A run is under way."""


@dataclass
class TuneDesk:
    """Begins runs of `tune`, which read and write inside `root` alone."""

    root: Path
    cache: Path | None = None
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """stands in the form, which a page of another site can't read: whoever does not bring it starts nothing"""
    now: StartedTune | None = None
    """the run that was begun last"""
    begun: Mapping[str, str] = field(default_factory=lambda: dict(FIELDS))
    """what the form held when that run was begun"""
    typed: Mapping[str, str] = field(default_factory=lambda: dict(FIELDS))
    """what the form holds"""
    _one: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def knows(self, secret: str) -> bool:
        """Whether it is the secret of the form."""
        return hmac.compare_digest(secret.encode(), self.secret.encode())

    def start(self, typed: Mapping[str, str]) -> None:
        """Begin a run.

        Raises
        ------
        BusyDeskError
            One is under way.
        SkythawError
            What was typed can't be used, as far as this can be told at once.
        """
        with self._one:
            if self.now and self.now.running:
                raise BusyDeskError("a run is under way: wait for its end, or stop it")
            self.typed = dict(FIELDS) | {name: typed.get(name, "").strip() for name in FIELDS}
            seconds = parse_budget(self.typed["budget"])
            images, labels, table, out = (self._place(name) for name in ("images", "labels", "table", "out"))
            if images is None or out is None:
                raise SpecError(f"say which folder of images, and which folder for what comes out: inside {self.root}")
            for path in (images, labels, table):
                if path is not None and not path.exists():
                    raise SpecError(f"there is no {path}")
            skip = bool(self.typed["skip_broken"])
            request = tune_request(images, labels, table, out, None, None, skip, self.cache)
            begun = StartedTune(request, seconds)
            if self.now:
                self.now.close(0)
            self.now, self.begun = begun, self.typed

    def suggested(self) -> list[str]:
        """Folders and files of the folder that may be images, and are not what a run made."""
        try:
            there = sorted(each for each in self.root.iterdir() if not each.name.startswith("."))
        except OSError:
            return []
        fit = [each for each in there if each.is_dir() or each.name.lower().endswith(FILES)]
        return [each.name for each in fit if not TuneFolder(each).answer.is_file()][:SUGGESTED]

    def close(self) -> None:
        """Stop what is under way."""
        if self.now:
            self.now.close(PATIENCE)

    def _place(self, name: str) -> Path | None:
        """The path in a field, which is inside the folder also where links are followed; None where it is empty."""
        text = self.typed[name]
        if not text:
            return None
        try:
            path = self.root.absolute() / Path(text).expanduser()
            if len(text) <= LONGEST and path.resolve().is_relative_to(self.root.resolve()):
                path.exists()  # a name may be too long
                return path
        except (ValueError, OSError, RuntimeError):
            raise SpecError(f"{name}: {text[:80]!r} is no path") from None
        raise SpecError(
            f"{name}: {text[:80]} is not inside {self.root.absolute()}, the only folder that this page may use; "
            "skythaw serve --folder DIR opens another"
        )
