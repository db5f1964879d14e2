"""What is done of a prediction that is not at its end: parts in a folder, from which the same call goes on."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from skythaw.data.parquet import parquet_writer
from skythaw.errors import DataError, SpecError
from skythaw.machine.files import replacing, writing
from skythaw.machine.sealed_table import require_sealed, sealed

BINDING, LOCK = "about.json", "lock"
EVERY = 5.0
"""seconds after which rows are written, however few they are: a kill costs no more than these"""


class UnfinishedPrediction:
    """The folder of an unfinished prediction: parts of whole batches, each named by its first row.

    Every `size` rows a part ends, so that the finished file does not depend on where a prediction was stopped.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.rows = 0
        """how many rows are done, from the first"""
        self._parts: list[Path] = []
        self._waiting: list[pa.Table] = []
        self._written = time.monotonic()
        while (table := _read_part(path := self._path())) is not None and len(table) <= self._left:
            self._parts.append(path)
            self.rows += len(table)

    def agreed(self, name: str, wanted: str | None) -> str | None:
        """What was noted under a name when the prediction began, or else what is wanted now; both may be None.

        Raises
        ------
        SpecError
            Something else was noted than is wanted now.
        """
        noted = self.noted(name)
        if noted and wanted not in (None, noted):
            raise _another(self.folder, name, noted, wanted)
        return noted or wanted

    def note(self, name: str, value: str) -> None:
        """Write something down that this prediction is bound to from now on."""
        _write_binding(self.folder, _binding(self.folder) | {name: value})

    def noted(self, name: str) -> str:
        """What was noted under a name; empty if nothing was."""
        return str(_binding(self.folder).get(name, ""))

    def add(self, table: pa.Table) -> None:
        """Take the rows of one batch; they are on the disk after `EVERY` seconds, or `size` rows, at the latest."""
        self._waiting.append(table)
        waited = time.monotonic() - self._written
        if sum(map(len, self._waiting)) >= self._left or waited >= EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as a part, which appears whole or not at all."""
        if not self._waiting:
            return
        table, path = sealed(pa.concat_tables(self._waiting).combine_chunks()), self._path()
        with replacing(path) as file, parquet_writer(file, table.schema, path) as write:
            write(table)
        self._parts.append(path)
        self.rows += len(table)
        self._waiting, self._written = [], time.monotonic()

    def tables(self) -> Iterator[pa.Table]:
        """The rows, `size` at a time; the last table may have fewer."""
        waiting: list[pa.Table] = []
        for path in self._parts:
            table = _read_part(path)
            if table is None:
                raise DataError(f"can't read {path}: it was damaged or removed; repeat the command")
            waiting.append(table)
            if sum(map(len, waiting)) >= self.size:
                yield pa.concat_tables(waiting).combine_chunks()
                waiting = []
        if waiting:
            yield pa.concat_tables(waiting).combine_chunks()

    @property
    def _left(self) -> int:
        """How many rows the next part may have."""
        return self.size - self.rows % self.size

    def _path(self) -> Path:
        return self.folder / f"{self.rows:08d}.parquet"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make a folder if there is none, and hold it for this process alone.

    Raises
    ------
    DataError
        Another process holds it.
    OutputError
        It can't be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"another process is writing to {folder}; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def unfinished_prediction(folder: Path, binding: Mapping[str, Any], size: int) -> Iterator[UnfinishedPrediction]:
    """Open the folder of an unfinished prediction, or make it. It is removed when the block ends.

    The folder is kept if the block raises an error after the first rows were added.

    Parameters
    ----------
    folder
        where the shards are
    binding
        what the shards belong to, JSON-able
    size
        rows after which a part ends; it is a part of what they belong to

    Raises
    ------
    SpecError
        The folder belongs to something else; the message says what differs.
    DataError
        Another process has it open.
    OutputError
        It can't be made.
    """
    with alone(folder):
        _bind(folder, {**binding, "shard": size})
        opened = UnfinishedPrediction(folder, size)
        try:
            yield opened
        except BaseException:
            with suppress(OSError):
                opened.flush()
            if not opened.rows:
                _remove(folder)
            raise
        _remove(folder)


def _remove(folder: Path) -> None:
    with writing(folder):
        for shard in sorted(folder.glob("*.parquet"), reverse=True):  # the binding goes last: a kill here is no loss
            shard.unlink()
        shutil.rmtree(folder)


def _bind(folder: Path, binding: Mapping[str, Any]) -> None:
    """Write down what the folder belongs to, or compare with what is written there."""
    if not (folder / BINDING).exists():
        if others := sorted(path.name for path in folder.iterdir() if not path.name.startswith((".", LOCK))):
            raise SpecError(f"the folder {folder} is no unfinished prediction: it holds {others[0]}")
        _write_binding(folder, binding)
        return
    written = _binding(folder)
    for name, value in binding.items():
        if written.get(name) != value:
            raise _another(folder, name, written.get(name), value)


def _binding(folder: Path) -> dict[str, Any]:
    """What is written there."""
    path = folder / BINDING
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"can't read {path}: {error}; remove {folder} to begin again") from None
    return content if isinstance(content, dict) else {}


def _write_binding(folder: Path, binding: Mapping[str, Any]) -> None:
    with replacing(folder / BINDING) as file:
        file.write(json.dumps(dict(binding), indent=2).encode())


def _another(folder: Path, name: str, before: object, now: object) -> SpecError:
    return SpecError(
        f"{folder} is an unfinished prediction of another {name}: {str(before)[:80]}, now {str(now)[:80]}; repeat the "
        "command that began it, give another output, or remove it to begin again"
    )


def _read_part(path: Path) -> pa.Table | None:
    """The rows of a part; None if there is none, or it is damaged."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        require_sealed(table, always=False)
        return table
    except (OSError, pa.ArrowException, ValueError):
        return None
