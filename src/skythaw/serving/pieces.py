"""A survey as pieces: some rows of a Parquet file each, wherever it is (a disk, or object storage).

Only the footers of the files are read to find the pieces; images are read where a piece is worked on.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from skythaw.errors import DataError
from skythaw.serving.sources import Content, plain, require_images

PARQUET = (".parquet", ".pq")
HATS = re.compile(r"/Norder=\d+/Dir=\d+/Npix=\d+")
"""where a HATS catalogue has its rows; its other Parquet files repeat some of them"""
FOOTERS = 16
"""files whose footers are read at a time"""
ROWS = 64
"""read at once"""


@dataclass(frozen=True)
class Piece:
    """Rows of one file."""

    number: int
    """of the shard that they become"""
    address: str
    """of the file: an absolute path, or a URL"""
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
class Pieces:
    """Every row that is asked about, in order."""

    pieces: tuple[Piece, ...]
    sha256: str
    """changes when the name, size, time of change or row groups of a file do"""

    @property
    def rows(self) -> int:
        return sum(map(len, self.pieces))


def find_pieces(inputs: Sequence[str], rows: int) -> Pieces:
    """Divide the Parquet files that are named into pieces of whole row groups.

    Parameters
    ----------
    inputs
        Parquet files with images, folders of them, HATS catalogues; paths, or URLs such as ``s3://bucket/folder`` (what
        pyarrow or fsspec can open)
    rows
        a piece has so many at most, unless one row group alone has more

    Raises
    ------
    DataError
        Nothing is there, a file is given twice, or one is no Parquet file with images.
    """
    addresses = [address for each in inputs for address in _addresses(each)]
    if twice := sorted({each for each in addresses if addresses.count(each) > 1}) if len(inputs) > 1 else []:
        raise DataError(f"{twice[0]} is among the inputs twice; give it once")
    digest, pieces = hashlib.sha256(), list[Piece]()
    with ThreadPoolExecutor(FOOTERS) as pool:
        for address, (mark, groups) in zip(addresses, pool.map(_footer, addresses), strict=True):
            digest.update(f"{address}\0{mark}\0{groups}\n".encode())
            for first, end in _joined(groups, rows):
                pieces.append(Piece(len(pieces), address, first, end))
    if not pieces:
        raise DataError(f"there are no rows in {', '.join(inputs) or 'the arguments: none is given'}")
    return Pieces(tuple(pieces), digest.hexdigest())


def items(piece: Piece) -> Iterator[tuple[str, Content]]:
    """The images of a piece, each with its name; a damaged row group costs its rows.

    Raises
    ------
    DataError
        The file can't be reached.
    """
    system, path = filesystem(piece.address)
    with _reaching(piece.address), system.open_input_file(path) as raw, _parquet(raw) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        for group, (size, end) in enumerate(zip(sizes, accumulate(sizes), strict=True)):
            start = end - size
            first, last = max(piece.first, start), min(piece.end, end)
            row = first
            try:
                for item in _rows(file, group, piece.address, start, first) if first < last else ():
                    if row == last:
                        break
                    yield item
                    row += 1
            except (OSError, pa.ArrowException) as error:
                if getattr(error, "errno", None) is not None or not isinstance(system, pa.fs.LocalFileSystem):
                    raise  # the disk or the network, and not the file
                reason = f"can't read {piece.address} as Parquet: {str(error).partition(chr(10))[0]}"
                yield from ((_numbered(piece.address, each), Content(b"", reason=reason)) for each in range(row, last))


def name_of(piece: Piece) -> str:
    """The name of the first row, without a look at its image."""
    system, path = filesystem(piece.address)
    with _reaching(piece.address), system.open_input_file(path) as raw, _parquet(raw) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        group = next(i for i, end in enumerate(accumulate(sizes)) if end > piece.first)
        start = sum(sizes[:group])
        return _names(file, group, piece.address, start)[piece.first - start]


def filesystem(address: str) -> tuple[pa.fs.FileSystem, str]:
    """What opens a path or URL, and its name there."""
    if "://" not in address:
        return pa.fs.LocalFileSystem(), address
    try:
        found: tuple[pa.fs.FileSystem, str] = pa.fs.FileSystem.from_uri(address)
        return found
    except (ValueError, NotImplementedError):  # not one of pyarrow's own
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise DataError(f"can't open {address}: {error}") from None
        return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(system)), path


def _addresses(given: str) -> list[str]:
    """The Parquet files at or below a path or URL, sorted."""
    given = given if "://" in given else os.path.abspath(given)  # noqa: PTH100 (a link keeps its name)
    system, path = filesystem(given)
    try:
        found = system.get_file_info(path)
        if found.type == pa.fs.FileType.Directory:
            below = system.get_file_info(pa.fs.FileSelector(path, recursive=True))
            names = sorted(each.path for each in below if each.type == pa.fs.FileType.File and _is_data(each.path))
        else:
            names = [path] if found.type == pa.fs.FileType.File else []
    except OSError as error:
        raise DataError(f"can't look at {given}: {str(error).partition(chr(10))[0]}") from None
    names = [name for name in names if HATS.search(name)] or names
    if not names:
        raise DataError(
            f"there is no Parquet file at {given}: an output without an ending is a folder, made from those alone; for "
            "other inputs it should end in .parquet, .csv or .ecsv"
        )
    scheme = given[: given.index("://") + 3] if "://" in given else ""
    tail = "?" + given.partition("?")[2] if "?" in given and scheme else ""
    return [given] if names == [path] else [_joined_url(scheme, name) + tail for name in names]


def _joined_url(scheme: str, name: str) -> str:
    return scheme + (name if scheme in ("", "file://", "memory://") else name.removeprefix("/"))


def _is_data(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.lower().endswith(PARQUET) and not name.startswith((".", "_"))


def _footer(address: str) -> tuple[str, list[int]]:
    """What changes when a file does, and the rows of each of its row groups."""
    system, path = filesystem(address)
    with _reaching(address), system.open_input_file(path) as raw, _parquet(raw) as file:
        require_images(address, file.schema_arrow)
        found = system.get_file_info(path)
        return f"{found.size} {found.mtime_ns}", [
            file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)
        ]


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


def _rows(file: pq.ParquetFile, group: int, address: str, start: int, first: int) -> Iterator[tuple[str, Content]]:
    """The images of a row group that begins at row `start`, from row `first` on."""
    names, row = _names(file, group, address, start), start
    schema = file.schema_arrow
    summed = "sha256" in schema.names and pa.types.is_string(schema.field("sha256").type)
    columns = ["image.bytes", *(["sha256"] if summed else [])]
    for batch in file.iter_batches(ROWS, row_groups=[group], columns=columns):
        if row + len(batch) > first:
            images = pc.struct_field(batch.column("image"), [0]).to_pylist()
            sums = batch.column("sha256").to_pylist() if summed else [None] * len(images)
            for place in range(max(0, first - row), len(images)):
                name = names[row + place - start]
                yield name, Content(images[place] or b"", sha256=sums[place])
        row += len(batch)


def _names(file: pq.ParquetFile, group: int, address: str, start: int) -> list[str]:
    """The ids of a row group as text; FILE:ROW where there are none."""
    rows = file.metadata.row_group(group).num_rows
    ids: list[Any] = [None] * rows
    if "object_id" in file.schema_arrow.names:
        ids = file.read_row_group(group, columns=["object_id"]).column(0).cast(pa.string()).to_pylist()
    return [each or _numbered(address, start + place) for place, each in enumerate(ids)]


def _numbered(address: str, row: int) -> str:
    return f"{plain(PurePosixPath(address).name)}:{row}"


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Turn what a missing, foreign or unreachable file raises into a `DataError` that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise DataError(f"can't read {address} as Parquet: {reason}") from None
