"""The images that a command names by files, folders, patterns, Parquet files and CSV files, in one order.

An image that can't be read keeps its place, with the reason, so that nothing is dropped. Names are held in memory; the
images are not.
"""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skythaw.data.sources.column_names import FILE_NAMES, ID_NAMES, column_of, some_names
from skythaw.data.sources.image_files import NOT_IMAGE, plain_stem, why_no_image
from skythaw.data.sources.rounded_ids import refuse_ruined
from skythaw.data.sources.text_tables import read_rows
from skythaw.errors import DataError, OutputError
from skythaw.machine.files import plain_name
from skythaw.machine.walk_folders import real_folder, walk
from skythaw.predict.files_of_names import NamesWithoutEnding
from skythaw.predict.image_contents import PARQUET, Content, ImageFiles, ParquetRows

TABLES = (".csv", ".tsv")
PAGE = 10_000
"""names that are turned to text at once"""


@dataclass(frozen=True)
class Inputs:
    """All images to predict, in order."""

    sources: tuple[ImageFiles | ParquetRows, ...]
    ids: pa.ChunkedArray
    """a name for each image; no two are alike"""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    """files of the folders that are no images -> why"""
    notes: tuple[str, ...] = ()
    """that names are not those that were given"""

    def __len__(self) -> int:
        return len(self.ids)

    def items(self, start: int = 0) -> Iterator[tuple[str, Content]]:
        """The images from a row on, each with its name. An image is read when its content is asked for."""
        return zip(self._ids(start), self._contents(start), strict=True)

    def content(self, row: int) -> Content:
        """The image of one row."""
        return next(self._contents(row))

    @property
    def sha256(self) -> str:
        """A checksum that changes when a file's path, size or time of change does, or the name of an image."""
        digest = hashlib.sha256()
        for text in chain(self._ids(0), chain.from_iterable(source.marks() for source in self.sources)):
            digest.update(text.encode("utf-8", "backslashreplace") + b"\0")
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
        image files (of any format that is read, whatever they are called), folders (with all below), patterns such
        as ``"night1/**/*.jpg"``, Parquet files with images, and CSV files with a column that names image files in the
        folder of the CSV file; a file that is given twice is taken once
    without
        files and folders that are passed over, such as the results, which may lie among the inputs

    Returns
    -------
    Inputs
        the name of an image is its `object_id`, or its file's name without ending, or FILE:ROW of a Parquet file (rows
        are counted from 0); images that would have the same name are called by their paths

    Raises
    ------
    DataError
        Nothing is given; an input names nothing; a folder holds no images; a CSV file can't be used.
    OutputError
        A file that is passed over holds images, or is an input that names them: results would replace it.
    """
    for out in map(Path, without):
        if out.name.lower().endswith(PARQUET) and out.is_file():
            _require_no_images(out.as_posix())
    taken = {_real(Path(path).as_posix()) for path in without}
    passed_over = frozenset(taken)
    sources: list[ImageFiles | ParquetRows] = []
    loose: list[tuple[str, str | None]] = []
    others: dict[str, str] = {}
    for path, reason in chain.from_iterable(_named_by(str(one), passed_over, others) for one in given):
        key = _real(path)
        if key in taken:
            if key in passed_over and path.lower().endswith(TABLES):
                _require_no_images(path)
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
        names = ", ".join(map(str, given))
        raise DataError(f"there are no images in {names or 'the inputs, because none is given'}")
    names, notes = _different(sources)
    return Inputs(tuple(sources), names, others, notes)


def _named_by(given: str, without: Collection[str], others: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """The files that one input names, and why one can't be read where that is known; fills `others`."""
    paths = [given] if os.path.lexists(given) else sorted(glob.glob(given, recursive=True))  # noqa: PTH207
    if not paths:
        if "://" in given:
            raise DataError(
                f"{given} is in remote storage, and its predictions go into a folder of shards: give -o a name without "
                "an ending"
            )
        what = "nothing matches the pattern" if glob.has_magic(given) else "there is no file or folder"
        raise DataError(f"{what} {given}")
    for path in (Path(name).as_posix() for name in paths):
        if not os.path.isdir(path):  # noqa: PTH112 (False, not an error, where it may not be looked at)
            yield path, None
            continue
        passed: dict[str, str] = {}
        below = sorted(_walk(path, without, passed), key=lambda found: found[0])
        if not below:
            some = ", ".join(f"{name} ({why})" for name, why in list(passed.items())[:3])
            passed_over = f": none of its {len(passed)} files is one: {some}" if passed else ""
            raise DataError(f"the folder {path} holds no images, and no Parquet files{passed_over}")
        others |= passed
        yield from below


def _walk(folder: str, without: Collection[str], passed: dict[str, str]) -> Iterator[tuple[str, str | None]]:
    """Images and Parquet files below a folder, and why one can't be read where that is known; fills `passed`."""
    for here, names, closed in walk(folder, without, hidden=True):
        if closed:
            yield here, f"the folder can't be read: {closed.strerror}"
        for name in names:
            path = f"{here}/{name}"
            is_set = name.lower().endswith(PARQUET) and not name.startswith(".")
            reason = None if is_set else why_no_image(path)
            if reason is not None and reason.startswith(NOT_IMAGE):
                passed[path] = reason
            else:
                yield path, reason


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


def _require_no_images(out: str) -> None:
    """Raise `OutputError` if a file that is to be replaced holds or names images, as no results do."""
    try:
        opened = _opened(out)
    except DataError:
        return
    if isinstance(opened, ImageFiles | ParquetRows):
        raise OutputError(f"can't write {out}: it holds images, or names them, and would be lost; give another output")


def _real(path: str) -> str:
    """A path that is the same for the same file; a link counts as a file of its own."""
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
    return plain_name(plain_stem(posixpath.basename(path))) or plain_name(path)


def _table(path: str) -> ImageFiles:
    """The images that a CSV file names."""
    header, rows = read_rows(Path(path))
    file_at, id_at = column_of(header, FILE_NAMES), column_of(header, ID_NAMES)
    if file_at is None:
        raise DataError(
            f"{path} has no column that names image files; it should be called {', '.join(FILE_NAMES[:-1])} or "
            f"{FILE_NAMES[-1]}; the columns are {', '.join(header)}"
        )
    named = [row[file_at].replace("\\", "/") for row in rows]
    ids = [""] * len(rows) if id_at is None else [row[id_at] for row in rows]
    if id_at is not None:
        refuse_ruined(path, header[id_at], ids)
    folder = posixpath.dirname(path) or "."
    reasons = {i: "the row names no image" for i, name in enumerate(named) if not name}
    names = NamesWithoutEnding(folder)
    paths = [names.find(name) if name else "" for name in named]
    reasons |= {
        i: f"{named[i]} may be any of {some_names(found)}"
        for i, found in enumerate(paths)
        if not isinstance(found, str)
    }
    return ImageFiles(
        [ids[i] or _stem(name) or f"{plain_name(posixpath.basename(path))}:{i}" for i, name in enumerate(named)],
        [found if isinstance(found, str) else posixpath.join(folder, named[i]) for i, found in enumerate(paths)],
        reasons,
        folder,
    )


def _different(sources: Sequence[ImageFiles | ParquetRows]) -> tuple[pa.ChunkedArray, tuple[str, ...]]:
    """Names, no two alike: short ones; paths where short ones are alike; numbered paths where those are alike, too.

    And a note that tells how many are not the short ones.
    """
    parts = [s.names.chunks if isinstance(s, ParquetRows) else [pa.array(s.names, pa.string())] for s in sources]
    names = pa.chunked_array(list(chain.from_iterable(parts)), pa.string())
    notes: tuple[str, ...] = ()
    ends = np.cumsum([len(source.names) for source in sources])
    for numbered in (False, True):
        alike = np.flatnonzero(_repeated(names))
        if not len(alike):
            break
        notes = notes or (
            f"{len(alike):,} images are called by their paths or rows, because others have the same id or name: the "
            f"first is {names[int(alike[0])].as_py()!r}",
        )
        source_of = np.searchsorted(ends, alike, "right")
        longer = names.to_pylist()
        for row, number in zip(alike.tolist(), source_of.tolist(), strict=True):
            name = sources[number].long_name(row - (int(ends[number - 1]) if number else 0))
            longer[row] = f"{name}#{row}" if numbered else name
        names = pa.chunked_array([longer], pa.string())
    return names, notes


def _repeated(names: pa.ChunkedArray) -> np.ndarray:
    """Whether a name occurs more than once, bool [name]."""
    counts = pc.value_counts(names)
    repeated = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    return pc.is_in(names, value_set=repeated).to_numpy()
