"""Epochs of cells that are training: a worker writes each into a file, and whoever waits for the cell reads it.

The files are temporary. What they say is in the cell's `Result` too, so nothing depends on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from skythaw.engines.engine import Engine
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
    with (folder / f"{key}.jsonl").open("w", encoding="utf-8", buffering=1) as lines:
        yield lambda point: print(json.dumps(dict(point)), file=lines)


class LiveEpochs:
    """Tells a watcher of each epoch once, in the thread of the caller."""

    def __init__(self, folder: Path, watcher: Watcher, planned: Mapping[str, PlannedCell]) -> None:
        self.folder, self._watcher, self._planned = folder, watcher, planned
        self._told: dict[str, int] = {}

    def look(self) -> None:
        """Tell what is new."""
        for file in sorted(self.folder.iterdir()):
            lines = file.read_text(encoding="utf-8").split("\n")[:-1]  # the last is not yet whole
            for number in range(self._told.get(file.stem, 0), len(lines)):
                self._told[file.stem] = number + 1
                self._watcher.epoch(self._planned[file.stem], number, json.loads(lines[number]))

    def ended(self, key: str) -> None:
        """A cell has ended: its `Result` has what was not told."""
        self._told.pop(key, None)
        with suppress(OSError):
            (self.folder / f"{key}.jsonl").unlink()


@contextmanager
def live_epochs(engine: Engine, watcher: Watcher, planned: Mapping[str, PlannedCell]) -> Iterator[LiveEpochs | None]:
    """Tell the watcher of epochs while the engine works in the block; None where that can't be, or nobody wants it."""
    if not (watcher.wants_epochs and engine.tells):
        yield None
        return
    with TemporaryDirectory(prefix="skythaw-epochs-", ignore_cleanup_errors=True) as folder:
        live = LiveEpochs(Path(folder), watcher, planned)
        engine.meanwhile = live.look
        try:
            yield live
        finally:
            engine.meanwhile = None
