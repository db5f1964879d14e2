"""The ledger: which cells of a study are done, failed or being run, and what came of them.

One SQLite file (write-ahead log) in the run folder. A finished cell is one committed row: a kill loses none.

Who runs what. A process that runs cells is a *runner*: it holds an operating-system lock on a file of its own in
``RUN/runners/``. The system drops the lock when the process ends, however it ends, so a claim is stale exactly if its
runner's lock can be taken: no heartbeat, no clock, no grace time.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from skythaw.errors import LedgerError
from skythaw.machine.files import writing
from skythaw.spec import Cell
from skythaw.study.cell_result import Result
from skythaw.study.ledger_database import (
    ADDED,
    AGAIN,
    CHECKSUM,
    closed_on_error,
    columns_there,
    damage,
    got,
    open_to_look,
    open_to_run,
    put,
    transaction,
)
from skythaw.study.ledger_rows import SEALED, Entry, State, entry_of, row_sha256, text_sha256

Role = Literal["cell", "trial", "numbers"]
"""cells of the study; trials of learning rates, or of a search; and cells without a network, on numbers alone"""
ROLES: tuple[Role, ...] = ("cell", "trial", "numbers")
"""in the order in which the column `race` counts them"""


class Ledger:
    """The ledger of one run folder. Open it with `create` (to run) or `read` (to look)."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._db = connection

    @classmethod
    def create(cls, folder: Path, study: dict[str, Any], cells: list[tuple[Cell, float]]) -> Self:
        """Open the ledger of a study for running, or make it.

        Parameters
        ----------
        folder
            the run folder; made if it isn't there
        study
            everything that decides the study, JSON-able, defaults written out
        cells
            its cells, each with its cost

        Raises
        ------
        LedgerError
            The folder holds another study: the message says what differs.
        OutputError
            The folder can't be written.
        """
        db = open_to_run(folder, study)
        with closed_on_error(db):
            made = cls(folder, db)
            made.extend(cells)
            return made

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Open the ledger of a run folder for reading.

        Raises
        ------
        LedgerError
            There is none, or it can't be read.
        """
        return cls(folder, open_to_look(folder))

    def extend(self, cells: list[tuple[Cell, float]], role: Role = "cell") -> None:
        """Put further cells behind those that are there, each with its cost; one that is there already stays."""
        with transaction(self._db, self.folder):
            first = self._db.execute("SELECT coalesce(max(position) + 1, 0) FROM cells").fetchone()[0]
            rows = [
                (c.key, first + i, c.model_dump_json(), float(cost), ROLES.index(role), None, None)
                for i, (c, cost) in enumerate(cells)
            ]
            self._db.executemany(
                f"INSERT OR IGNORE INTO cells ({', '.join(SEALED)}, sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(*row, row_sha256(row)) for row in rows],
            )

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def study(self) -> dict[str, Any]:
        """The study as it was when the folder was made, every default written out."""
        found = self._meta("study")
        if not isinstance(found, dict):
            raise LedgerError(f"can't read {self.folder / 'ledger.sqlite'}: it is damaged, and lacks the study")
        return found

    def entries(self, role: Role = "cell") -> list[Entry]:
        """Every cell of the study, in order; or all that have another role.

        A running cell whose runner is gone is waiting again.
        """
        columns = ("key", "position", "cell", "cost", "result", "error", "state", "attempts", "runner")
        there = columns_there(self._db)
        added = [name if name in there else f"{0 if name == 'race' else 'NULL'} AS {name}" for name in ADDED]
        with damage(self.folder):
            kind = f"WHERE race = {ROLES.index(role)}" if "race" in there else f"WHERE {role == 'cell'}"
            found = self._db.execute(f"SELECT {', '.join((*columns, *added))} FROM cells {kind} ORDER BY position")
            rows = [dict(zip((*columns, *ADDED), row, strict=True)) for row in found.fetchall()]
        alive = {name: self._alive(name) for name in {row["runner"] for row in rows if row["state"] == "running"}}
        for row in rows:
            if row["state"] == "running" and not alive[row["runner"]]:
                row["state"] = "waiting"
        return [self._entry(row) for row in rows]

    def _entry(self, row: dict[str, Any]) -> Entry:
        try:
            return entry_of(row)
        except ValueError as error:
            raise LedgerError(
                f"{self.folder / 'ledger.sqlite'}: the row of the cell {str(row['key'])[:12]!r} is damaged: {error}; "
                f"{AGAIN}"
            ) from None

    @contextmanager
    def runner(self) -> Iterator[str]:
        """Be a runner while the block lasts; claims still held at its end are given back."""
        name = uuid.uuid4().hex
        lock = FileLock(self._lock_path(name))
        with writing(self.folder), transaction(self._db, self.folder):
            (self.folder / "runners").mkdir(exist_ok=True)
            self._sweep()
            lock.acquire()
        try:
            yield name
        finally:
            with transaction(self._db, self.folder):
                self._db.execute("UPDATE cells SET state = 'waiting', runner = NULL WHERE runner = ?", (name,))
            lock.release()
            with suppress(OSError):
                self._lock_path(name).unlink()

    def claim(self, key: str, runner: str) -> bool:
        """Take a cell to run, unless it is done or a living runner has it."""
        with transaction(self._db, self.folder):
            state, owner = self._db.execute("SELECT state, runner FROM cells WHERE key = ?", (key,)).fetchone()
            if state == "done" or (state == "running" and self._alive(owner)):
                return False
            self._db.execute(
                "UPDATE cells SET state = 'running', runner = ?, attempts = attempts + 1 WHERE key = ?", (runner, key)
            )
        return True

    def add(self, key: str, result: Result) -> None:
        """Keep the result of a finished cell."""
        self._finish(key, "done", result.model_dump_json(), None)

    def fail(self, key: str, error: str) -> None:
        """Keep the traceback of a failed cell."""
        self._finish(key, "failed", None, error)

    def note(self, name: str, value: Any) -> None:
        """Keep a remark about the run (warnings, broken images) beside the study."""
        with transaction(self._db, self.folder):
            put(self._db, name, json.dumps(value))

    def remark(self, name: str) -> Any:
        """A remark kept by `note`, or None."""
        return self._meta(name)

    def _finish(self, key: str, state: State, result: str | None, error: str | None) -> None:
        with transaction(self._db, self.folder):
            row = self._db.execute(f"SELECT {', '.join(SEALED[:-2])} FROM cells WHERE key = ?", (key,)).fetchone()
            self._db.execute(
                "UPDATE cells SET state = ?, runner = NULL, result = ?, error = ?, sha256 = ?, "
                "finished = datetime('now') WHERE key = ?",
                (state, result, error, row_sha256((*row, result, error)), key),
            )

    def _sweep(self) -> None:
        """Remove what killed runs left: their locks, and half-written files of cells that nobody runs."""
        rows = self._db.execute("SELECT key, runner FROM cells WHERE state = 'running'").fetchall()
        busy = {key for key, runner in rows if self._alive(runner)}
        for file in (self.folder / "runners").glob("*.lock"):
            if not self._alive(file.stem):
                file.unlink(missing_ok=True)
        for file in self.folder.glob("*/.*.tmp"):
            if file.name.removeprefix(".").partition(".")[0] not in busy:
                file.unlink(missing_ok=True)

    def _meta(self, name: str) -> Any:
        with damage(self.folder):
            value, sha256 = got(self._db, name), got(self._db, name + CHECKSUM)
            if sha256 is not None and (value is None or sha256 != text_sha256(value)):
                raise sqlite3.DatabaseError(f"the remark {name!r} is damaged: its checksum differs")
            try:
                return None if value is None else json.loads(value)
            except ValueError as error:
                raise sqlite3.DatabaseError(f"the remark {name!r} is damaged: {error}") from None

    def _alive(self, runner: str) -> bool:
        path = self._lock_path(runner)
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0.1):  # another look at the same lock is over in no time
                return False
        except Timeout:
            return True
        except OSError:  # a folder that may only be read: believe the ledger
            return True

    def _lock_path(self, runner: str) -> Path:
        return self.folder / "runners" / f"{runner}.lock"
