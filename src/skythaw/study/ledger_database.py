"""The SQLite file of a ledger: how it is opened, what is wrong with it in our words, and its remarks."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from skythaw.errors import LedgerError, OutputError
from skythaw.machine.files import temporary_folder, writing
from skythaw.study.ledger_rows import text_sha256

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
LOG = "ledger.sqlite-wal"
AGAIN = "put back a copy of the file, or run the study again in a new folder"
CHECKSUM = ".sha256"
"""ends the name of the remark that holds another one's checksum"""


def open_to_run(folder: Path, study: dict[str, Any]) -> sqlite3.Connection:
    """The database of a run folder, made if it is not there.

    Raises
    ------
    LedgerError
        The folder holds another study: the message says what differs.
    OutputError
        The folder can't be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with refusals(folder):
        db = _connect(folder)
    with closed_on_error(db), transaction(db, folder):
        for statement in TABLES.split(";"):
            db.execute(statement)
        for column in ADDED.keys() - columns_there(db):
            db.execute(f"ALTER TABLE cells ADD COLUMN {ADDED[column]}")
        _same_study(db, folder, study)
    return db


def open_to_look(folder: Path) -> sqlite3.Connection:
    """The database of a run folder, for reading, looked through for damage.

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
            db, tables = _look_at_copy(folder) if _has_log(folder) else _look(folder, "?immutable=1")
        except (sqlite3.DatabaseError, OSError):
            raise LedgerError(f"can't read {folder / 'ledger.sqlite'}: {error}") from None
    with closed_on_error(db):
        if "meta" not in tables:
            why = "its ledger.sqlite is another program's" if tables else "its study is only starting"
            raise LedgerError(f"{folder} is not a run folder{'' if tables else ' yet'}: {why}")
        with damage(folder):
            _require_schema(db, folder)
            if found := [each for (each,) in db.execute("PRAGMA quick_check(1)") if each != "ok"]:
                raise sqlite3.DatabaseError(f"database disk image is malformed: {' '.join(found[0].split())}")
        return db


def _connect(folder: Path, mode: str = "") -> sqlite3.Connection:
    """Open the database; without a mode, for writing."""
    uri = (folder / "ledger.sqlite").absolute().as_uri()
    db = sqlite3.connect(uri + (mode or "?mode=rwc"), uri=True, isolation_level=None, timeout=60)
    with closed_on_error(db):
        if not mode:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        return db


def _look(folder: Path, mode: str) -> tuple[sqlite3.Connection, set[str]]:
    """The database opened for reading, and the names of its tables."""
    db = _connect(folder, mode)
    with closed_on_error(db):
        return db, {name for (name,) in db.execute("SELECT name FROM sqlite_master")}


def _has_log(folder: Path) -> bool:
    """Whether the newest rows are in a file beside the database, as a killed run leaves it."""
    log = folder / LOG
    return log.is_file() and log.stat().st_size > 0


def _look_at_copy(folder: Path) -> tuple[sqlite3.Connection, set[str]]:
    """The same in memory, of a copy of both files."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    with closed_on_error(memory), temporary_folder() as copy:
        for name in ("ledger.sqlite", LOG):
            shutil.copyfile(folder / name, copy / name)
        with closing(sqlite3.connect(copy / "ledger.sqlite")) as db:
            db.backup(memory)
        return memory, {name for (name,) in memory.execute("SELECT name FROM sqlite_master")}


@contextmanager
def closed_on_error(db: sqlite3.Connection) -> Iterator[None]:
    """Leave no connection open behind an error."""
    try:
        yield
    except BaseException:
        db.close()
        raise


@contextmanager
def damage(folder: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: it is damaged, or no database."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"can't read {folder / 'ledger.sqlite'}: {error}; {AGAIN}") from error


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """The same, and that it can't be written (a full disk)."""
    with damage(folder):
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutputError(f"can't write {folder}: {error}") from error


@contextmanager
def transaction(db: sqlite3.Connection, folder: Path) -> Iterator[None]:
    with refusals(folder):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite itself has rolled back where the disk is full
                db.execute("ROLLBACK")
            raise


def columns_there(db: sqlite3.Connection) -> set[str]:
    """The columns of the cells: older ledgers lack some."""
    return {row[1] for row in db.execute("PRAGMA table_info(cells)")}


def got(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def put(db: sqlite3.Connection, name: str, value: str) -> None:
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
        put(db, "schema", json.dumps(SCHEMA))
        put(db, "study", json.dumps(study, sort_keys=True))
        return
    _require_schema(db, folder)
    kept = json.loads(row[0])
    if ("search" in kept) != ("search" in study):
        there, here = ("search", "run") if "search" in kept else ("run", "search")
        raise LedgerError(
            f"{folder} holds another study: it is of skythaw study {there}, and study {here} needs a folder of its "
            "own: give another --out"
        )
    before, now = _flat(kept), _flat(json.loads(json.dumps(study)))
    differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if differing:
        files = _files(db)
        what = "; ".join(_difference(name, before.get(name), now.get(name), files) for name in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise LedgerError(f"{folder} holds another study ({what}{more}): give the changed study a folder of its own")


def _files(db: sqlite3.Connection) -> dict[str, str]:
    """The files whose checksums a study has, as far as they are known: by the name of the checksum."""
    data, table = (json.loads(got(db, name) or "null") for name in ("data", "table"))
    data = data or {}
    found = {"sha256.data": data.get("path"), "sha256.test": data.get("test_path"), "sha256.numbers": table}
    return {name: file for name, file in found.items() if file}


def _difference(name: str, before: Any, now: Any, files: dict[str, str]) -> str:
    """What differs, in words; of a file the name, and not its checksums."""
    if not name.startswith("sha256."):
        return f"{name}: there {before!r}, now {now!r}"
    what = name.removeprefix("sha256.").replace("weights.", "the file of weights of ", 1)
    if before is None or now is None:
        there, here = ("not given" if each is None else "given" for each in (before, now))
        return f"{what}: there {there}, now {here}"
    return f"{files.get(name, what)} has changed since, or another file takes its place"


def _flat(content: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted names."""
    if not isinstance(content, dict) or not content:
        return {name: content}
    return {k: v for key, value in content.items() for k, v in _flat(value, f"{name}.{key}" if name else key).items()}
