"""A survey as pieces: some rows of a Parquet file each, wherever it is.

Only the footers of the files are read to find the pieces; images are read where a piece is worked on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skythaw.errors import DataError
from skythaw.predict.image_contents import Content, contents_of, image_columns, require_ids, require_images
from skythaw.predict.survey.remote_files import RemoteFile, find_places

FOOTERS = 32
"""files whose footers are read at a time"""
TRIES = 2
"""how often a row group is read before it counts as damaged"""
BLOCK = 8 << 20
"""bytes"""


@dataclass(frozen=True)
class Piece:
    """Rows of one file."""

    number: int
    """of the shard that they become"""
    place: RemoteFile
    """the file"""
    first: int
    end: int
    """the row after the last"""
    deaths: int = 0
    """how many workers have died of them"""

    def __len__(self) -> int:
        return self.end - self.first

    def halves(self) -> tuple[Piece, Piece]:
        """The same rows as two pieces of one shard."""
        middle = (self.first + self.end) // 2
        return replace(self, end=middle), replace(self, first=middle)


@dataclass(frozen=True)
class SurveyPieces:
    """Every row that is asked about, in order."""

    pieces: tuple[Piece, ...]
    sha256: str
    """changes when the name, size, time of change or row groups of a file do"""

    @property
    def rows(self) -> int:
        return sum(map(len, self.pieces))


def find_pieces(inputs: Sequence[str], rows: int, without: Collection[str] = ()) -> SurveyPieces:
    """Divide the Parquet files that are named into pieces of whole row groups.

    Parameters
    ----------
    inputs
        Parquet files with images, folders of them, HATS catalogues; paths, or URLs such as ``s3://bucket/folder``: see
        `skythaw.predict.survey.remote_files.find_places`
    rows
        a piece has so many at most, unless one row group alone has more
    without
        real paths of folders that are passed over

    Raises
    ------
    DataError
        Nothing is there, a file is given twice, or one is no Parquet file with images.
    """
    places = [place for given in inputs for place in find_places(given, without)]
    if twice := [name for name, times in Counter(each.key for each in places).items() if times > 1]:
        raise DataError(f"{twice[0]} is among the inputs twice; give it once")
    names = Counter(place.name for place in places)
    places = [replace(each, name=each.shown) if names[each.name] > 1 else each for each in places]
    digest, pieces = hashlib.sha256(), list[Piece]()
    with ThreadPoolExecutor(FOOTERS) as pool:
        for place, groups in zip(places, pool.map(_footer, places), strict=True):
            digest.update(f"{place.shown}\0{place.mark}\0{groups}\n".encode())
            for first, end in _joined(groups, rows):
                pieces.append(Piece(len(pieces), place, first, end))
    if not pieces:
        raise DataError(f"there are no rows in {', '.join(p.shown for p in places) or 'the arguments: none is given'}")
    return SurveyPieces(tuple(pieces), digest.hexdigest())


def items(piece: Piece) -> Iterator[tuple[str, Content]]:
    """The images of a piece, each with its name; a damaged row group costs its rows.

    Raises
    ------
    DataError
        The file can't be reached, or is no longer the one that was found.
    """
    with piece.place.opened() as raw, _parquet(raw) as file:
        for group, start, size in _groups(file):
            first, last = max(piece.first, start), min(piece.end, start + size)
            if first < last:
                yield from _rows(raw, file, piece.place, (group, start), range(first, last))


def name_of(piece: Piece) -> str:
    """The name of the first row, without a look at its image; raises `DataError` as `items` does."""
    with piece.place.opened() as raw, _parquet(raw) as file:
        group, start, _ = next(each for each in _groups(file) if each[1] + each[2] > piece.first)
        return _names(raw, file, piece.place, (group, start))[piece.first - start]


def _footer(place: RemoteFile) -> list[int]:
    """The rows of each row group."""
    with place.opened() as raw, _parquet(raw) as file:
        require_images(place.shown, file.schema_arrow)
        require_ids(place.shown, file.schema_arrow)
        return [size for _, _, size in _groups(file)]


def _groups(file: pq.ParquetFile) -> list[tuple[int, int, int]]:
    """Number, first row and rows of each row group."""
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [(i, end - size, size) for i, (size, end) in enumerate(zip(sizes, accumulate(sizes), strict=True))]


def _joined(groups: Sequence[int], rows: int) -> Iterator[tuple[int, int]]:
    """First and end row of pieces of whole row groups."""
    first = end = 0
    for size in groups:
        if end > first and end + size - first > rows:
            yield first, end
            first = end
        end += size
    if end > first:
        yield first, end


def _parquet(raw: Any) -> pq.ParquetFile:
    return pq.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20)


def _rows(
    raw: Any, file: pq.ParquetFile, place: RemoteFile, of: tuple[int, int], rows: range
) -> Iterator[tuple[str, Content]]:
    """Some rows of one row group; `of` is its number and its first row."""
    group, start = of
    names, columns, row = _names(raw, file, place, of), image_columns(file.schema_arrow), rows.start
    reason = "the row group is short"
    for _ in range(TRIES):
        try:
            for content in islice(contents_of(file, group, columns, row - start), rows.stop - row):
                yield names[row - start], content
                row += 1
            break
        except (OSError, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0]
            _require_bytes(raw, file.metadata.row_group(group))
    for lost in range(row, rows.stop):
        yield names[lost - start], Content(b"", reason=f"can't read {place.shown} as Parquet: {reason}")


def _require_bytes(raw: Any, group: pq.RowGroupMetaData) -> None:
    """Read the bytes of a row group: raises where the disk or the network is at fault, and not the file."""
    columns = [group.column(i) for i in range(group.num_columns)]
    starts = [c.dictionary_page_offset or c.data_page_offset for c in columns]
    raw.seek(min(starts))
    left = max(start + c.total_compressed_size for start, c in zip(starts, columns, strict=True)) - min(starts)
    while left > 0 and (data := raw.read(min(left, BLOCK))):
        left -= len(data)


def _names(raw: Any, file: pq.ParquetFile, place: RemoteFile, of: tuple[int, int]) -> list[str]:
    """The ids of a row group as text; FILE:ROW where there are none, or they are damaged."""
    group, start = of
    ids: list[Any] = [None] * file.metadata.row_group(group).num_rows
    for _ in range(TRIES if "object_id" in file.schema_arrow.names else 0):
        try:
            ids = file.read_row_group(group, columns=["object_id"]).column(0).cast(pa.string()).to_pylist()
            break
        except (OSError, pa.ArrowException):
            _require_bytes(raw, file.metadata.row_group(group))
    return [each or f"{place.name}:{start + row}" for row, each in enumerate(ids)]
