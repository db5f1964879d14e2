"""The ledger: which cells of a study are done, failed or being run, and what came of them.

One SQLite file (write-ahead log) in the run folder. A finished cell is one committed row: a kill loses none.

Who runs what. A process that runs cells is a *runner*: it holds an operating-system lock on a file of its own in
``RUN/runners/``. The system drops the lock when the process ends, however it ends, so a claim is stale exactly if its
runner's lock can be taken: no heartbeat, no clock, no grace time.

Longer than our 300 lines: everything that touches the database is in this one file.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from skythaw.errors import LedgerError, OutputError
from skythaw.machine.files import writing
from skythaw.spec import Cell
from skythaw.study.cell_result import Result
from skythaw.study.ledger_rows import SEALED, Entry, State, entry_of, row_sha256, text_sha256

SCHEMA = 1
TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    cell TEXT NOT NULL,
    cost REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    runner TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    result TEXT,
    error TEXT,
    finished TEXT,
    race INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT
);
"""
ADDED = {"race": "race INTEGER NOT NULL DEFAULT 0", "sha256": "sha256 TEXT"}
"""columns that ledgers of older versions lack"""
AGAIN = "put back a copy of the file, or run the study again in a new folder"
CHECKSUM = ".sha256"
"""ends the name of the remark that holds another one's checksum"""
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
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with _refusals(folder):
            db = _connect(folder)
        with _closed_on_error(db):
            with _refusals(folder), _transaction(db, folder):
                for statement in TABLES.split(";"):
                    db.execute(statement)
                for column in ADDED.keys() - _columns(db):
                    db.execute(f"ALTER TABLE cells ADD COLUMN {ADDED[column]}")
                _same_study(db, folder, study)
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
        if not os.path.isfile(folder / "ledger.sqlite"):  # noqa: PTH113 (False where it may not be looked at)
            raise LedgerError(f"{folder} is not a run folder: there is no ledger.sqlite in it (see: skythaw study run)")
        try:
            db, tables = _look(folder, "?mode=ro")
        except sqlite3.DatabaseError as error:
            try:  # a folder that may only be read lacks a place for SQLite's own files
                db, tables = _look(folder, "?immutable=1")
            except sqlite3.DatabaseError:
                raise LedgerError(f"can't read {folder / 'ledger.sqlite'}: {error}") from None
        with _closed_on_error(db):
            if "meta" not in tables:
                why = "its ledger.sqlite is another program's" if tables else "its study is only starting"
                raise LedgerError(f"{folder} is not a run folder{'' if tables else ' yet'}: {why}")
            with _damage(folder):
                _require_schema(db, folder)
                if found := [each for (each,) in db.execute("PRAGMA quick_check(1)") if each != "ok"]:
                    raise sqlite3.DatabaseError(f"database disk image is malformed: {' '.join(found[0].split())}")
            return cls(folder, db)

    def extend(self, cells: list[tuple[Cell, float]], role: Role = "cell") -> None:
        """Put further cells behind those that are there, each with its cost; one that is there already stays."""
        with _transaction(self._db, self.folder):
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
        there = _columns(self._db)
        added = [name if name in there else f"{0 if name == 'race' else 'NULL'} AS {name}" for name in ADDED]
        with _damage(self.folder):
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
        with writing(self.folder), _transaction(self._db, self.folder):
            (self.folder / "runners").mkdir(exist_ok=True)
            self._sweep()
            lock.acquire()
        try:
            yield name
        finally:
            with _transaction(self._db, self.folder):
                self._db.execute("UPDATE cells SET state = 'waiting', runner = NULL WHERE runner = ?", (name,))
            lock.release()
            with suppress(OSError):
                self._lock_path(name).unlink()

    def claim(self, key: str, runner: str) -> bool:
        """Take a cell to run, unless it is done or a living runner has it."""
        with _transaction(self._db, self.folder):
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
        with _transaction(self._db, self.folder):
            _put(self._db, name, json.dumps(value))

    def remark(self, name: str) -> Any:
        """A remark kept by `note`, or None."""
        return self._meta(name)

    def _finish(self, key: str, state: State, result: str | None, error: str | None) -> None:
        with _transaction(self._db, self.folder):
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
        with _damage(self.folder):
            value, sha256 = _got(self._db, name), _got(self._db, name + CHECKSUM)
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


def _connect(folder: Path, mode: str = "") -> sqlite3.Connection:
    """Open the database; without a mode, for writing."""
    uri = (folder / "ledger.sqlite").absolute().as_uri()
    db = sqlite3.connect(uri + (mode or "?mode=rwc"), uri=True, isolation_level=None, timeout=60)
    with _closed_on_error(db):
        if not mode:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        return db


def _look(folder: Path, mode: str) -> tuple[sqlite3.Connection, set[str]]:
    """The database opened for reading, and the names of its tables."""
    db = _connect(folder, mode)
    with _closed_on_error(db):
        return db, {name for (name,) in db.execute("SELECT name FROM sqlite_master")}


@contextmanager
def _closed_on_error(db: sqlite3.Connection) -> Iterator[None]:
    """Leave no connection open behind an error."""
    try:
        yield
    except BaseException:
        db.close()
        raise


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: it is damaged, or no database."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"can't read {folder / 'ledger.sqlite'}: {error}; {AGAIN}") from error


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """The same, and that it can't be written (a full disk)."""
    with _damage(folder):
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutputError(f"can't write {folder}: {error}") from error


@contextmanager
def _transaction(db: sqlite3.Connection, folder: Path) -> Iterator[None]:
    with _refusals(folder):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite itself has rolled back where the disk is full
                db.execute("ROLLBACK")
            raise


def _columns(db: sqlite3.Connection) -> set[str]:
    """The columns of the cells: older ledgers lack some."""
    return {row[1] for row in db.execute("PRAGMA table_info(cells)")}


def _got(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _put(db: sqlite3.Connection, name: str, value: str) -> None:
    """Keep a remark, and its checksum beside it."""
    rows = [(name, value), (name + CHECKSUM, text_sha256(value))]
    db.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", rows)


def _require_schema(db: sqlite3.Connection, folder: Path) -> None:
    row = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
    if row is None or row[0] != json.dumps(SCHEMA):
        found = row and row[0]
        raise LedgerError(f"{folder} was written by another version of skythaw (ledger {found}, here {SCHEMA})")


def _same_study(db: sqlite3.Connection, folder: Path, study: dict[str, Any]) -> None:
    """Write the study into a new ledger; refuse another one in an old."""
    row = db.execute("SELECT value FROM meta WHERE name = 'study'").fetchone()
    if row is None:
        _put(db, "schema", json.dumps(SCHEMA))
        _put(db, "study", json.dumps(study, sort_keys=True))
        return
    _require_schema(db, folder)
    before, now = _flat(json.loads(row[0])), _flat(json.loads(json.dumps(study)))
    differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if differing:
        what = "; ".join(f"{n}: there {before.get(n)!r}, now {now.get(n)!r}" for n in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise LedgerError(f"{folder} holds another study ({what}{more}): give the changed study a folder of its own")


def _flat(content: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted names."""
    if not isinstance(content, dict) or not content:
        return {name: content}
    return {k: v for key, value in content.items() for k, v in _flat(value, f"{name}.{key}" if name else key).items()}
