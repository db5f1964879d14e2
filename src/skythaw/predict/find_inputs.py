"""What a classifier is asked about: files, folders, globs, Parquet and CSV files, made one row of images.

What can't be read is there too, with its reason, so that nothing is dropped. Names are in memory, images are not.
"""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skythaw.data.sources.folder import COMPRESSED, SUFFIXES
from skythaw.data.sources.label_table import FILE_NAMES, ID_NAMES, read_rows, refuse_ruined
from skythaw.errors import DataError
from skythaw.machine.files import plain_name
from skythaw.predict.image_contents import PARQUET, Content, ImageFiles, ParquetRows, real_folder, walk

TABLES = (".csv", ".tsv")
PAGE = 10_000
"""names made text at once"""


@dataclass(frozen=True)
class Inputs:
    """Every image that is asked about, in order."""

    sources: tuple[ImageFiles | ParquetRows, ...]
    ids: pa.ChunkedArray
    """a name for each, no two alike"""

    def __len__(self) -> int:
        return len(self.ids)

    def items(self, start: int = 0) -> Iterator[tuple[str, Content]]:
        """The images from a row on, each with its name; they are read when their content is."""
        return zip(self._ids(start), self._contents(start), strict=True)

    @property
    def sha256(self) -> str:
        """Changes when a file's path, size or time of change does, or its name here."""
        digest = hashlib.sha256()
        for each in chain(self._ids(0), chain.from_iterable(source.marks() for source in self.sources)):
            digest.update(each.encode("utf-8", "backslashreplace") + b"\0")
        return digest.hexdigest()

    def _ids(self, start: int) -> Iterator[str]:
        for page in range(start, len(self.ids), PAGE):
            yield from self.ids.slice(page, PAGE).to_pylist()

    def _contents(self, start: int) -> Iterator[Content]:
        for source in self.sources:
            yield from source.contents(min(start, len(source.names)))
            start = max(0, start - len(source.names))


def find_inputs(given: Sequence[str | Path], without: Collection[Path] = ()) -> Inputs:
    """Find every image that the arguments of a command name.

    Parameters
    ----------
    given
        files (JPEG, PNG or FITS; told by their content), folders (with all below them), patterns such as
        ``"night1/**/*.jpg"``, Parquet files with images, CSV files with a column that names image files in the CSV's
        folder; a file that is given twice is taken once
    without
        files and folders that are passed over: the results, which may lie among the inputs

    Returns
    -------
    Inputs
        an image is called by its `object_id`, its file's name without ending, or FILE:ROW of a Parquet file (rows
        counted from 0); where two would be called alike, by their paths

    Raises
    ------
    DataError
        Nothing is given; an argument names nothing; a folder holds no images; a CSV file can't be used.
    """
    taken = {_real(Path(path).as_posix()) for path in without}
    ours = frozenset(taken)
    sources: list[ImageFiles | ParquetRows] = []
    loose: list[tuple[str, str | None]] = []
    for path, reason in chain.from_iterable(_found(str(each), ours) for each in given):
        key = _real(path)
        if key in taken:
            continue
        taken.add(key)
        opened = reason or _opened(path)
        if opened is None or isinstance(opened, str):
            loose.append((path, opened))
        else:
            sources += [*_files(loose), opened]
            loose = []
    sources += _files(loose)
    if not any(len(source.names) for source in sources):
        raise DataError(f"there are no images in {', '.join(map(str, given)) or 'the arguments: none is given'}")
    return Inputs(tuple(sources), _different(sources))


def _found(given: str, without: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """The files that one argument names, and why one can't be read where that is known."""
    paths = [given] if os.path.lexists(given) else sorted(glob.glob(given, recursive=True))  # noqa: PTH207
    if not paths:
        if "://" in given:
            raise DataError(f"{given} is read shard by shard, into a folder: give -o a name without an ending")
        what = "nothing matches" if glob.has_magic(given) else "there is no file or folder"
        raise DataError(f"{what} {given}")
    for path in (Path(each).as_posix() for each in paths):
        if not os.path.isdir(path):  # noqa: PTH112 (False, not an error, where it may not be looked at)
            yield path, None
            continue
        below = sorted(_walk(path, without))
        if not below:
            raise DataError(f"the folder {path} holds no {', '.join((*SUFFIXES, *PARQUET))} files")
        yield from below


def _walk(folder: str, without: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """Images and Parquet files below a folder."""
    for here, names, closed in walk(folder, without):
        if closed:
            yield here, f"the folder can't be read: {closed.strerror}"
        for name in names:
            if name.lower().endswith((*SUFFIXES, *PARQUET)):
                yield f"{here}/{name}", None
            elif name.lower().endswith(COMPRESSED):
                yield f"{here}/{name}", "compressed FITS: decompress it"


def _opened(path: str) -> ImageFiles | ParquetRows | str | None:
    """The images in a Parquet or CSV file, or why it can't be read; None for any other file, which is an image."""
    if path.lower().endswith(TABLES):
        return _table(path)
    if not path.lower().endswith(PARQUET):
        return None
    try:
        return ParquetRows.open(path)
    except DataError as error:
        return str(error)


def _real(path: str) -> str:
    """A path by which the same file is known again; a link is a file of its own."""
    folder, name = posixpath.split(path)
    return posixpath.join(real_folder(folder or "."), name)


def _files(found: Sequence[tuple[str, str | None]]) -> list[ImageFiles]:
    if not found:
        return []
    paths = [path for path, _ in found]
    reasons = {row: reason for row, (_, reason) in enumerate(found) if reason is not None}
    return [ImageFiles([_stem(path) for path in paths], paths, reasons)]


def _stem(path: str) -> str:
    """A file's name without ending."""
    return plain_name(posixpath.splitext(posixpath.basename(path))[0]) or plain_name(path)


def _table(path: str) -> ImageFiles:
    """The images that a CSV file names."""
    header, rows = read_rows(Path(path))
    lower = {name.lower(): place for place, name in reversed(list(enumerate(header)))}
    file_at, id_at = (next((lower[n] for n in names if n in lower), None) for names in (FILE_NAMES, ID_NAMES))
    if file_at is None:
        raise DataError(
            f"{path} has no column that names image files: one of {', '.join(FILE_NAMES)}; it has {', '.join(header)}"
        )
    named = [row[file_at].replace("\\", "/") for row in rows]
    ids = [""] * len(rows) if id_at is None else [row[id_at] for row in rows]
    if id_at is not None:
        refuse_ruined(path, header[id_at], ids)
    folder = posixpath.dirname(path) or "."
    return ImageFiles(
        [ids[i] or _stem(name) or f"{plain_name(posixpath.basename(path))}:{i}" for i, name in enumerate(named)],
        [posixpath.join(folder, name) if name else "" for name in named],
        {i: "the row names no image" for i, name in enumerate(named) if not name},
        folder,
    )


def _different(sources: Sequence[ImageFiles | ParquetRows]) -> pa.ChunkedArray:
    """Names, no two alike: short ones, paths where two short ones are alike, numbered where those are alike, too."""
    parts = [s.names.chunks if isinstance(s, ParquetRows) else [pa.array(s.names, pa.string())] for s in sources]
    names = pa.chunked_array(list(chain.from_iterable(parts)), pa.string())
    ends = np.cumsum([len(source.names) for source in sources])
    for numbered in (False, True):
        alike = np.flatnonzero(_repeated(names))
        if not len(alike):
            break
        of = np.searchsorted(ends, alike, "right")
        longer = names.to_pylist()
        for row, which in zip(alike.tolist(), of.tolist(), strict=True):
            place = sources[which].place(row - (int(ends[which - 1]) if which else 0))
            longer[row] = f"{place}#{row}" if numbered else place
        names = pa.chunked_array([longer], pa.string())
    return names


def _repeated(names: pa.ChunkedArray) -> np.ndarray:
    """Whether another has the same name, bool [name]."""
    counts = pc.value_counts(names)
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    return pc.is_in(names, value_set=repeated).to_numpy()
