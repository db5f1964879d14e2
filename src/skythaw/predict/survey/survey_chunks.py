"""A survey in chunks: each chunk is some rows of a Parquet file, on a disk or in object storage.

Only the footers of the files are read to find the chunks. The images are read where a chunk is predicted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skythaw.bundle.numbers_wanted import NumbersWanted
from skythaw.data.parquet_footer import column_chunks
from skythaw.data.parquet_images import require_images
from skythaw.errors import DataError
from skythaw.machine.machine_fault import raise_if_memory_is_short
from skythaw.predict.image_contents import Content, contents_of, image_columns, require_ids
from skythaw.predict.object_numbers import no_columns
from skythaw.predict.survey.remote_files import RemoteFile, find_files

FOOTERS = 32
"""files whose footers are read at a time"""
TRIES = 2
"""how often a row group is read before it counts as damaged"""
BLOCK = 8 << 20
"""bytes"""


@dataclass(frozen=True)
class Chunk:
    """Rows of one file."""

    number: int
    """of the shard that they become"""
    file: RemoteFile
    first: int
    end: int
    """the row after the last"""
    deaths: int = 0
    """how many workers have died of them"""

    def __len__(self) -> int:
        return self.end - self.first

    def halves(self) -> tuple[Chunk, Chunk]:
        """The same rows as two chunks of one shard."""
        middle = (self.first + self.end) // 2
        return replace(self, end=middle), replace(self, first=middle)


@dataclass(frozen=True)
class SurveyChunks:
    """All rows of a survey, in order."""

    chunks: tuple[Chunk, ...]
    sha256: str
    """changes when the name, size, time of change or row groups of a file do"""

    @property
    def rows(self) -> int:
        return sum(map(len, self.chunks))


def find_chunks(inputs: Sequence[str], rows: int, without: Collection[str] = ()) -> SurveyChunks:
    """Divide the Parquet files that the inputs name into chunks of whole row groups.

    Parameters
    ----------
    inputs
        Parquet files with images, folders of them, HATS catalogues; paths, or URLs such as ``s3://bucket/folder``: see
        `skythaw.predict.survey.remote_files.find_files`
    rows
        the most rows of a chunk, unless a single row group has more
    without
        real paths of folders that are passed over

    Raises
    ------
    DataError
        There are no rows; a file is given twice, or is no Parquet file with images.
    """
    files = _different([file for given in inputs for file in find_files(given, without)])
    digest, chunks = hashlib.sha256(), list[Chunk]()
    with ThreadPoolExecutor(FOOTERS) as pool:
        for file, groups in zip(files, pool.map(_footer, files), strict=True):
            digest.update(f"{file.shown}\0{file.mark}\0{groups}\n".encode())
            for first, end in _joined(groups, rows):
                chunks.append(Chunk(len(chunks), file, first, end))
    if not chunks:
        names = ", ".join(file.shown for file in files)
        raise DataError(f"there are no rows in {names or 'the inputs, because none is given'}")
    return SurveyChunks(tuple(chunks), digest.hexdigest())


def items(chunk: Chunk, wants: NumbersWanted | None = None) -> Iterator[tuple[str, Content]]:
    """The images of a chunk, each with its name; where a row group is damaged, its rows have no images.

    With `wants`, each has the numbers of its columns, too, where its file has all of them.

    Raises
    ------
    DataError
        The file can't be reached, or is no longer the one that was found.
    """
    with _opened(chunk.file) as groups:
        for group in groups:
            rows = range(max(chunk.first, group.first), min(chunk.end, group.end))
            if rows:
                yield from group.items(rows) if wants is None else group.numbered(rows, wants)


def require_columns(survey: SurveyChunks, wants: NumbersWanted) -> None:
    """Raise `DataError` unless a file has all columns of numbers that are wanted."""
    known: set[str] = set()
    for file in dict.fromkeys(chunk.file for chunk in survey.chunks):
        with file.opened() as raw, _parquet(raw) as parquet:
            known |= {*parquet.schema_arrow.names}
            if not wants.lacking(parquet.schema_arrow.names):
                return
    raise DataError(no_columns(wants, known))


def name_of(chunk: Chunk) -> str:
    """The name of the first row, without a look at its image; raises `DataError` as `items` does."""
    with _opened(chunk.file) as groups:
        group = next(group for group in groups if group.end > chunk.first)
        return group.names()[chunk.first - group.first]


def _different(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """The files, if none is there twice; those of the same name are called by their paths."""
    if twice := [key for key, times in Counter(file.key for file in files).items() if times > 1]:
        raise DataError(f"{twice[0]} is among the inputs twice; give it once")
    names = Counter(file.name for file in files)
    return [replace(file, name=file.shown) if names[file.name] > 1 else file for file in files]


def _footer(file: RemoteFile) -> list[int]:
    """The number of rows of each row group."""
    with file.opened() as raw, _parquet(raw) as parquet:
        require_images(file.shown, parquet.schema_arrow)
        require_ids(file.shown, parquet.schema_arrow)
        return _sizes(parquet)


def _joined(groups: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """First and end row of chunks of whole row groups."""
    first = end = 0
    for size in groups:
        if end > first and end + size - first > rows:
            yield first, end
            first = end
        end += size
    if end > first:
        yield first, end


@contextmanager
def _opened(file: RemoteFile) -> Iterator[list[RowGroup]]:
    """The row groups of a file, open for reading."""
    with file.opened() as raw, _parquet(raw) as parquet:
        sizes = _sizes(parquet)
        ends = accumulate(sizes)
        yield [
            RowGroup(file, raw, parquet, number, end - size, end)
            for number, (size, end) in enumerate(zip(sizes, ends, strict=True))
        ]


def _parquet(raw: Any) -> pq.ParquetFile:
    return pq.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20)


def _sizes(parquet: pq.ParquetFile) -> list[int]:
    return [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]


@dataclass(frozen=True)
class RowGroup:
    """A row group of an open file: what Parquet reads at once, and what a damaged byte costs."""

    file: RemoteFile
    raw: Any
    """the file's bytes"""
    parquet: pq.ParquetFile
    number: int
    first: int
    """row of the file"""
    end: int
    """the row after the last"""

    def items(self, rows: range) -> Iterator[tuple[str, Content]]:
        """The images in some rows of the file, each with its name."""
        names, columns, row = self.names(), image_columns(self.parquet.schema_arrow), rows.start
        reason = "the row group is short"
        for _ in range(TRIES):
            try:
                images = contents_of(self.parquet, self.number, columns, row - self.first)
                for content in islice(images, rows.stop - row):
                    yield names[row - self.first], content
                    row += 1
                break
            except (OSError, pa.ArrowException) as error:
                raise_if_memory_is_short(error)
                reason = str(error).partition("\n")[0]
                self._require_bytes()
        for lost in range(row, rows.stop):
            yield names[lost - self.first], Content(b"", reason=f"can't read {self.file.shown} as Parquet: {reason}")

    def numbered(self, rows: range, wants: NumbersWanted) -> Iterator[tuple[str, Content]]:
        """The same, each with the numbers that its columns give; raises `DataError` where they hold no numbers."""
        if wants.lacking(self.parquet.schema_arrow.names):
            yield from self.items(rows)
            return
        try:
            table = self.parquet.read_row_group(self.number, columns=list(wants.columns))
        except (OSError, pa.ArrowException) as error:
            raise_if_memory_is_short(error)
            self._require_bytes()
            yield from self.items(rows)
            return
        ids = pa.array([str(row) for row in range(len(table))])
        values, _ = wants.given(table.append_column("object_id", ids))
        for row, (name, content) in zip(rows, self.items(rows), strict=True):
            yield name, replace(content, numbers=values[row - self.first])

    def names(self) -> list[str]:
        """The ids of all rows as text; FILE:ROW where there are none, or they are damaged."""
        ids: list[Any] = [None] * (self.end - self.first)
        for _ in range(TRIES if "object_id" in self.parquet.schema_arrow.names else 0):
            try:
                table = self.parquet.read_row_group(self.number, columns=["object_id"])
                ids = table.column(0).cast(pa.string()).to_pylist()
                break
            except (OSError, pa.ArrowException) as error:
                raise_if_memory_is_short(error)
                self._require_bytes()
        return [name or f"{self.file.name}:{self.first + row}" for row, name in enumerate(ids)]

    def _require_bytes(self) -> None:
        """Read all bytes of the row group: this raises where the disk or the network is at fault, and not the file."""
        chunks = column_chunks(self.parquet, self.number)
        start = min(chunk.start for chunk in chunks)
        self.raw.seek(start)
        left = max(chunk.start + chunk.packed for chunk in chunks) - start
        while left > 0 and (data := self.raw.read(min(left, BLOCK))):
            left -= len(data)
