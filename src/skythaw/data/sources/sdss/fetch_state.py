"""The state file: one SQLite file beside the result, with what became of every object, and with its image.

A kill loses at most the image under way. A power cut loses at most the last few images, which are then fetched again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from skythaw.data.sources.sdss.missing_reasons import TRANSIENT, Fault, Reason
from skythaw.data.sources.sdss.state_rows import (
    SEALED,
    UNKNOWN,
    SkyObject,
    Target,
    as_kept,
    known_frame,
    on_sky,
    row_sha256,
)
from skythaw.errors import DataError, OutputError, SkythawError

FORMAT = 1
WAITING, FETCHED = "waiting", "fetched"
PAGE = 500
"""rows read at once"""
TABLES = """
create table if not exists about (name text primary key, value text not null) without rowid;
create table if not exists objects (
    place integer primary key, object_id text not null unique, source text unique, state text not null,
    detail text, label text, ra real, dec real,
    run integer not null, camcol integer not null, field integer not null, extra text not null, row_sha256 text
);
create index if not exists by_field on objects (state, run, camcol, field, place);
create table if not exists images (place integer primary key, sha256 text not null, bytes blob not null);
"""


class FetchState:
    """The state file of one request, held by one process; its threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path, self.new = path, not path.exists()
        self._lock = threading.RLock()
        self._file_lock = FileLock(path.with_name(path.name + ".lock"))
        with self._guard():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._file_lock.acquire(timeout=0)
            except Timeout:
                raise DataError(f"another process is fetching into {path}; wait for it, or stop it") from None
        db = None
        try:
            with self._guard():
                self._db = db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
                self._db.execute("pragma journal_mode = wal")
                self._db.execute("pragma synchronous = normal")
                self._db.executescript(TABLES)
                if not any(row[1] == "row_sha256" for row in self._db.execute("pragma table_info(objects)")):
                    self._db.execute("alter table objects add column row_sha256 text")  # written by an older version
                self._require_format()
        except BaseException:
            if db:
                db.close()
            self._file_lock.release()
            raise

    def _require_format(self) -> None:
        if (found := self.get("format")) not in (None, FORMAT):
            raise DataError(
                f"{self.path} was written by another version of skythaw (format {found}, here {FORMAT}); use that "
                "version, or delete it to begin again"
            )

    def close(self) -> None:
        """Close the file, and let other processes have it."""
        with self._lock:
            self._db.close()
            self._file_lock.release()

    def discard_new(self) -> None:
        """Remove the file, if it is new and lists nothing, before it is closed."""
        if self.new and not self.counts() and not self.get("replies"):
            for ending in ("", "-wal", "-shm", ".lock"):
                with suppress(OSError):  # some systems take no file away that is open
                    self.path.with_name(self.path.name + ending).unlink()

    def get(self, name: str) -> Any:
        """A note, or None."""
        with self._reading() as db:
            row = db.execute("select value from about where name = ?", (name,)).fetchone()
            return None if row is None else json.loads(row[0])

    def bind(self, request: dict[str, Any]) -> None:
        """Bind the file to a request, or make sure that it is bound to it.

        Raises
        ------
        DataError
            The file belongs to another request; the message says what differs.
        """
        known = self.get("request")
        if known is None or (known != request and not self.counts()):  # no object was listed for that one
            with self._writing() as db:
                db.execute("delete from about")
                self._note(db, request=request, format=FORMAT)
            return
        if odd := sorted(name for name in known.keys() | request.keys() if known.get(name) != request.get(name)):
            shown = ", ".join(f"{name} = {known.get(name)!r}, not {request.get(name)!r}" for name in odd[:3])
            raise DataError(
                f"{self.path} belongs to another request ({shown}); choose another output file, or delete this one"
            )

    def add(self, items: Iterable[SkyObject], limit: int | None = None, **notes: Any) -> int:
        """Add objects and notes, all or none of them, until `limit` objects count; returns how many count.

        An object without a position, or whose `source` is there already, is added with its reason, and does not count.
        """
        counted = 0
        with self._writing() as db:
            for item in items:
                if limit is not None and counted >= limit:
                    break
                counted += self._insert(db, item)
            self._note(db, **notes)
        return counted

    def usable(self, labels: Sequence[str]) -> int:
        """Objects with these labels that count."""
        marks = ", ".join("?" * len(labels))
        with self._reading() as db:
            cursor = db.execute(
                f"select count(*) from objects where label in ({marks}) and state not in (?, ?)",
                (*labels, Reason.DUPLICATE, Reason.BAD_POSITION),
            )
            return int(cursor.fetchone()[0])

    def has_frames(self) -> bool:
        """Whether the field of any object is known."""
        with self._reading() as db:
            return db.execute("select 1 from objects where field >= 0 limit 1").fetchone() is not None

    def counts(self) -> dict[str, int]:
        """Objects in each state: `waiting`, `fetched`, or a `Reason`."""
        with self._reading() as db:
            return dict(Counter(dict(db.execute("select state, count(*) from objects group by state"))))

    def targets(self) -> Iterator[Target]:
        """The objects that still have no image, as they are when asked for; those of one field come together."""
        last: tuple[int, ...] = (*UNKNOWN, -1)
        while True:
            with self._reading() as db:
                rows = db.execute(
                    "select place, object_id, ra, dec, run, camcol, field from objects where state = ? and "
                    "(run, camcol, field, place) > (?, ?, ?, ?) order by run, camcol, field, place limit ?",
                    (WAITING, *last, PAGE),
                ).fetchall()
            for place, object_id, ra, dec, *frame in rows:
                last = (*frame, place)
                yield Target(place, object_id, ra, dec, known_frame(frame))
            if not rows:
                return

    def settle(self, found: Iterable[tuple[Target, bytes | Fault]]) -> None:
        """Keep images, or the reasons why there are none: all of them, or none of them."""
        with self._writing() as db:
            for target, image in found:
                fault = image if isinstance(image, Fault) else None
                state, detail = (FETCHED, None) if fault is None else (fault.reason.value, fault.detail[:300])
                db.execute("update objects set state = ?, detail = ? where place = ?", (state, detail, target.place))
                if isinstance(image, bytes):
                    sha256 = hashlib.sha256(image).hexdigest()
                    db.execute("insert or replace into images values (?, ?, ?)", (target.place, sha256, image))

    def retry(self, reasons: Iterable[Reason] = TRANSIENT) -> int:
        """Let objects that failed for one of these reasons wait again; returns how many they are."""
        names = [reason.value for reason in reasons]
        marks = ", ".join("?" * len(names))
        with self._writing() as db:
            return db.execute(f"update objects set state = '{WAITING}' where state in ({marks})", names).rowcount

    def mend(self) -> int:
        """Let objects wait again whose image differs from its checksum; returns how many they are.

        Raises
        ------
        DataError
            What is known of an object differs from its checksum.
        """
        with self._reading() as db:
            for place, sha256, *values in db.execute(f"select place, row_sha256, {', '.join(SEALED)} from objects"):
                if sha256 not in (None, row_sha256(values)):
                    raise ValueError(f"the checksum of row {place} differs")
            rows = db.execute(
                "select place, sha256, bytes from objects left join images using (place) where state = ?", (FETCHED,)
            )
            bad = [place for place, sha256, data in rows if hashlib.sha256(data or b"").hexdigest() != sha256]
        with self._writing() as db:
            for place in bad:
                db.execute("update objects set state = ? where place = ?", (WAITING, place))
                db.execute("delete from images where place = ?", (place,))
        return len(bad)

    def fetched(self) -> Iterator[tuple[SkyObject, bytes]]:
        """Every object that has its image, in the order of the request."""
        with self._reading() as db:
            rows = db.execute(
                "select object_id, label, ra, dec, source, run, camcol, field, extra, bytes "
                "from objects join images using (place) where state = ? order by place",
                (FETCHED,),
            )
            for object_id, label, ra, dec, source, *frame, extra, data in rows:
                yield SkyObject(object_id, label, ra, dec, source, known_frame(frame), json.loads(extra)), data

    def outcomes(self) -> Iterator[tuple[str, float | None, float | None, str, bytes | None]]:
        """Id, ra, dec, state and image (None where there is none) of every object, in the order of the request."""
        with self._reading() as db:
            yield from db.execute(
                "select object_id, ra, dec, state, bytes from objects left join images using (place) order by place"
            )

    def failed(self) -> Iterator[tuple[str, str, str]]:
        """Id, reason and detail of every object that has no image."""
        with self._reading() as db:
            yield from db.execute(
                "select object_id, state, ifnull(detail, '') from objects where state not in (?, ?) order by place",
                (WAITING, FETCHED),
            )

    def _insert(self, db: sqlite3.Connection, item: SkyObject) -> bool:
        """Add an object; returns whether it counts."""
        state, detail, source = WAITING, None, item.source
        if not on_sky(item.ra, item.dec):
            state, detail, source = Reason.BAD_POSITION.value, f"ra = {item.ra}, dec = {item.dec}", None
        elif source and (row := db.execute("select object_id from objects where source = ?", (source,)).fetchone()):
            state, detail, source = Reason.DUPLICATE.value, f"the same as {row[0]}", None
        try:
            frame, extra = item.frame or UNKNOWN, json.dumps(item.extra, sort_keys=True)
            values = (item.object_id, source, item.label, as_kept(item.ra), as_kept(item.dec), *map(int, frame), extra)
            marks = ", ".join("?" * (len(values) + 3))
            db.execute(
                f"insert into objects ({', '.join(SEALED)}, state, detail, row_sha256) values ({marks})",
                (*values, state, detail, row_sha256(values)),
            )
        except sqlite3.IntegrityError:
            raise DataError(f"object_id {item.object_id!r} occurs twice; every object needs an id of its own") from None
        return state == WAITING

    def _note(self, db: sqlite3.Connection, **notes: Any) -> None:
        for name, value in notes.items():
            db.execute("insert or replace into about values (?, ?)", (name, json.dumps(value)))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._guard():
            yield self._db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock, self._guard():
            self._db.execute("begin immediate")
            try:
                yield self._db
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Say in one line what SQLite finds wrong with the file or its disk."""
        try:
            yield
        except SkythawError:
            raise
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise OutputError(f"can't write {self.path}: {error}") from None
            raise DataError(f"{self.path} is damaged ({error}); delete it to begin again") from None
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            raise DataError(f"{self.path} is damaged ({error}); delete it to begin again") from None
        except OSError as error:
            raise OutputError(f"can't write {self.path}: {error.strerror or error}") from None
