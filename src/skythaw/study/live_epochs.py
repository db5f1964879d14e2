"""Epochs of cells that are training: a worker writes each into a file, and whoever waits for the cell reads it.

The files are temporary. What they say is in the cell's `Result` too, so nothing depends on them: where there is no
room for them, or somebody cleans them away, the watcher is told less.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from skythaw.engines.engine import Engine
from skythaw.errors import OutputError
from skythaw.machine.files import temporary_folder
from skythaw.study.open_study import Watcher
from skythaw.study.plan import PlannedCell

Point = Mapping[str, float]
"""an entry of `Result.curves`"""


@contextmanager
def epochs_written(folder: Path | None, key: str) -> Iterator[Callable[[Point], None] | None]:
    """A function that keeps each epoch of a cell where `LiveEpochs` finds it; None where there is no folder for it."""
    if folder is None:
        yield None
        return
    file = folder / f"{key}.jsonl"

    def keep(point: Point) -> None:
        with suppress(OSError), file.open("ab", buffering=0) as lines:  # no room: then nobody is told of it
            lines.write(json.dumps(dict(point)).encode() + b"\n")

    with suppress(OSError):  # an earlier try of the cell may have left some
        file.unlink(missing_ok=True)
    yield keep


class LiveEpochs:
    """Tells a watcher of each epoch once, in the thread of the caller."""

    def __init__(self, folder: Path, watcher: Watcher, planned: Mapping[str, PlannedCell]) -> None:
        self.folder, self._watcher, self._planned = folder, watcher, planned
        self._told: dict[str, int] = {}

    def look(self) -> None:
        """Tell what is new."""
        for key, number, line in self._news():
            self._told[key] = number + 1
            if point := _read(line):
                self._watcher.epoch(self._planned[key], number, point)

    def _news(self) -> list[tuple[str, int, bytes]]:
        """Lines that were not told: of which cell, the number of the epoch, and what it says."""
        found = []
        with suppress(OSError):
            for file in sorted(self.folder.iterdir()):
                lines = file.read_bytes().split(b"\n")[:-1]  # the last is not yet whole
                begun = self._told.get(file.stem, 0)
                found += [(file.stem, number, lines[number]) for number in range(begun, len(lines))]
        return found

    def ended(self, key: str) -> None:
        """A cell has ended: its `Result` has what was not told."""
        self._told.pop(key, None)
        with suppress(OSError):
            (self.folder / f"{key}.jsonl").unlink()


def _read(line: bytes) -> Point | None:
    """The epoch of a line; None where a full disk took but a part of it."""
    with suppress(ValueError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


@contextmanager
def live_epochs(engine: Engine, watcher: Watcher, planned: Mapping[str, PlannedCell]) -> Iterator[LiveEpochs | None]:
    """Tell the watcher of epochs while the engine works in the block; None where that can't be, or nobody wants it."""
    if not (watcher.wants_epochs and engine.tells):
        yield None
        return
    with ExitStack() as opened:
        try:
            folder = opened.enter_context(temporary_folder())
        except OutputError:
            yield None
            return
        live = LiveEpochs(folder, watcher, planned)
        engine.meanwhile = live.look
        try:
            yield live
        finally:
            engine.meanwhile = None
