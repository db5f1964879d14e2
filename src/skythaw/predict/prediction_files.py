"""Predictions on disk: shards while a prediction lasts, and one file in the end (Parquet, CSV or ECSV)."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from skythaw.data.parquet import parquet_writer, reading
from skythaw.errors import DataError, OutputError, SpecError
from skythaw.machine.files import replacing, writing

BINDING, LOCK = "about.json", "lock"
PARQUET = ".parquet"
FORMULA = r"^([=+\-@\t\r])"
"""the beginning of a cell that a spreadsheet would run"""


class UnfinishedPrediction:
    """The folder of an unfinished prediction. Every shard has `size` rows; the last one may have fewer."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.count = 0
        """whole shards, counted from the first"""
        while _is_whole(self._path(self.count), size):
            self.count += 1

    @property
    def rows(self) -> int:
        """How many rows are done."""
        return self.count * self.size

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
        """Write the next shard; it appears whole or not at all."""
        path = self._path(self.count)
        with replacing(path) as file, parquet_writer(file, table.schema, path) as write:
            write(table)
        self.count += 1

    def tables(self) -> Iterator[pa.Table]:
        """The rows of each shard."""
        for number in range(self.count):
            path = self._path(number)
            with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read()
            yield table

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.parquet"


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

    The folder is kept if the block raises an error after the first shard was written.

    Parameters
    ----------
    folder
        where the shards are
    binding
        what the shards belong to, JSON-able
    size
        rows of a shard; a part of what they belong to

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
            if not opened.count:
                _remove(folder)
            raise
        _remove(folder)


def _remove(folder: Path) -> None:
    with writing(folder):
        for shard in sorted(folder.glob("*.parquet"), reverse=True):  # the binding goes last: a kill here is no loss
            shard.unlink()
        shutil.rmtree(folder)


def check_output(out: Path, *, lists: bool = False) -> None:
    """Raise `SpecError` or `OutputError` unless predictions, or with `lists` features, can be written by this name."""
    if lists and out.suffix.lower() != PARQUET:
        raise SpecError(f"features are lists of numbers, which need Parquet: the output {out} should end in {PARQUET}")
    if out.suffix.lower() not in _FORMS:
        raise SpecError(f"the output {out} should end in {', '.join(_FORMS)}, not {out.suffix!r}")
    if out.is_dir():
        raise OutputError(f"can't write {out}: it is a folder")


def write_table(out: Path, schema: pa.Schema, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> None:
    """Write predictions in the format that the file's ending names; the file appears whole or not at all.

    Parameters
    ----------
    out
        the file
    schema
        of each of the tables
    tables
        some rows each
    about
        where they come from: this is the `meta` of ECSV; the schema of Parquet has it already, CSV has no place for it
    """
    with replacing(out) as file:
        _FORMS[out.suffix.lower()](file, out, schema, tables, about)


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


def _is_whole(path: Path, size: int) -> bool:
    """Whether there is a full shard."""
    try:
        with pq.ParquetFile(path) as file:
            return bool(file.metadata.num_rows == size)
    except (OSError, pa.ArrowException):
        return False


def _parquet(
    file: BinaryIO, out: Path, schema: pa.Schema, tables: Iterable[pa.Table], about: Mapping[str, Any]
) -> None:
    with parquet_writer(file, schema, out) as write:
        for table in tables:
            write(table)


def _csv(file: BinaryIO, out: Path, schema: pa.Schema, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> None:
    _rows(file, out, schema, map(_unformulated, tables), header=True)


def _unformulated(table: pa.Table) -> pa.Table:
    """The table with an apostrophe before what a spreadsheet would take for a formula, in columns of text."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(number, field, pc.replace_substring_regex(table[field.name], FORMULA, r"'\1"))
    return table


def _ecsv(file: BinaryIO, out: Path, schema: pa.Schema, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> None:
    """Astropy's ECSV (APE 6): astropy writes the header, and Arrow the rows, in bounded memory.

    A masked value is an empty cell.
    """
    from astropy.table import Table

    kinds = {field.name: str if pa.types.is_string(field.type) else np.float32 for field in schema}
    header = io.StringIO()
    empty = Table({name: np.zeros(0, kind) for name, kind in kinds.items()}, meta=dict(about))
    empty.write(header, format="ascii.ecsv", delimiter=",")
    with writing(out):
        file.write(header.getvalue().encode())
    _rows(file, out, schema, tables, header=False)


def _rows(file: BinaryIO, out: Path, schema: pa.Schema, tables: Iterable[pa.Table], *, header: bool) -> None:
    """Values between commas, a line for each row; a null is an empty cell."""
    options = pyarrow.csv.WriteOptions(include_header=header, quoting_style="needed")
    with writing(out), pyarrow.csv.CSVWriter(file, schema, write_options=options) as writer:
        for table in tables:
            writer.write_table(table)


_FORMS: dict[str, Callable[[BinaryIO, Path, pa.Schema, Iterable[pa.Table], Mapping[str, Any]], None]] = {
    PARQUET: _parquet,
    ".csv": _csv,
    ".ecsv": _ecsv,
}
