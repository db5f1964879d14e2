"""Parquet files wherever they are, on a disk or in object storage: single ones, folders of them, HATS catalogues."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs

from skythaw.errors import DataError
from skythaw.machine.files import plain_name
from skythaw.predict.image_contents import PARQUET, real_folder, walk

HATS = re.compile(r"(?:/dataset)?/Norder=\d+/Dir=\d+/Npix=\d+")
"""where a HATS catalogue has its rows, below its folder; its other Parquet files repeat some of them"""
PROPERTIES = ("hats.properties", "properties")
"""what such a folder says of itself"""
BESIDE = ("margin", "association", "index", "map")
"""kinds of folders that go with a catalogue of HATS, and repeat its rows or have none"""
LARGEST = 1 << 20
"""bytes of such a file that are read"""


@dataclass(frozen=True)
class RemoteFile:
    """One file."""

    given: str
    """what the user said: it opens the file system, and may hold what is secret"""
    path: str
    """of the file there"""
    shown: str
    """the same as a path or URL, for people: nothing that is secret is in it"""
    name: str
    """below the folder that was given"""
    mark: str
    """its size and time of change when it was found"""

    @property
    def key(self) -> str:
        """The same for the same file, whichever folder's name leads to it."""
        folder, _, name = self.path.rpartition("/")
        local = isinstance(filesystem(self.given)[0], pa.fs.LocalFileSystem)
        return f"{real_folder(folder or '/')}/{name}" if local else self.shown

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file, open for reading.

        Raises
        ------
        DataError
            It can't be reached, is no longer the one that was found, or the block can't read it.
        """
        with reaching(self.shown):
            system, _ = filesystem(self.given)
            if (now := _mark(system, system.get_file_info(self.path))) != self.mark:
                raise DataError(f"{self.shown} has changed since it was looked at: {self.mark}, now {now}")
            with system.open_input_file(self.path) as file:
                yield file


def find_files(given: str, without: Collection[str] = ()) -> list[RemoteFile]:
    """The Parquet files at or below a path or URL, sorted.

    Hidden files, and those whose name begins with ``_``, are passed over; so are margins and indices of HATS
    catalogues, and what is in a catalogue beside its partitions. Links are followed, but not in circles.

    Parameters
    ----------
    given
        a path, or a URL that pyarrow or fsspec can open
    without
        real paths of folders that are passed over

    Raises
    ------
    DataError
        There is none, or it can't be looked at.
    """
    with reaching(shown(given), "look at"):
        system, path = filesystem(given)
        root = (plain_name(path) if isinstance(system, pa.fs.LocalFileSystem) else shown(given)).rstrip("/")
        found = system.get_file_info(path)
        if found.type == pa.fs.FileType.File:
            return [RemoteFile(given, path, root, plain_name(PurePosixPath(path).name), _mark(system, found))]
        marks = dict(_below(system, path, without)) if found.type == pa.fs.FileType.Directory else {}
        names = _wanted(marks, path, lambda name: _text(system, name))
    if not names:
        raise DataError(
            f"there is no Parquet file at {shown(given)}: an output without an ending is a folder, made from those "
            "alone; for other inputs it should end in .parquet, .csv or .ecsv"
        )
    start = len(path.rstrip("/"))
    return [RemoteFile(given, n, root + plain_name(n[start:]), plain_name(n[start + 1 :]), marks[n]) for n in names]


@lru_cache(maxsize=64)
def filesystem(given: str) -> tuple[pa.fs.FileSystem, str]:
    """What opens a path or URL, and its name there.

    Raises
    ------
    DataError
        Nothing does.
    """
    if "://" not in given:
        return pa.fs.LocalFileSystem(), os.path.abspath(given)  # noqa: PTH100 (a link keeps its name)
    try:
        found: tuple[pa.fs.FileSystem, str] = pa.fs.FileSystem.from_uri(given)
        return found
    except (ValueError, NotImplementedError):  # not one of pyarrow's own
        import fsspec

    try:
        system, path = fsspec.core.url_to_fs(given)
    except Exception as error:  # its file systems raise what they like
        raise DataError(f"can't open {shown(given)}: {_first_line(error)}") from None
    return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(system)), path


def shown(given: str) -> str:
    """A path, or a URL without user, password and options."""
    if "://" not in given:
        return os.path.abspath(given)  # noqa: PTH100
    return re.sub(r"(?<=://)[^/@]*@", "", given.partition("?")[0])


@contextmanager
def reaching(name: str, what: str = "read") -> Iterator[None]:
    """Turn what a missing, foreign or unreachable file raises into a `DataError` that names it."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # fsspec's file systems raise what they like
        form = " as Parquet" if what == "read" else ""
        raise DataError(f"can't {what} {name}{form}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0] or type(error).__name__
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


def _below(system: pa.fs.FileSystem, folder: str, without: Collection[str]) -> Iterator[tuple[str, str]]:
    """All files below a folder but hidden ones, with their marks."""
    if isinstance(system, pa.fs.LocalFileSystem):
        for place, names, closed in walk(folder, without):
            if closed:
                raise closed
            paths = [f"{place}/{name}" for name in names]
            yield from ((each.path, _mark(system, each)) for each in system.get_file_info(paths))
        return
    for each in system.get_file_info(pa.fs.FileSelector(folder, recursive=True)):
        parts = PurePosixPath(each.path[len(folder) :]).parts
        if each.type == pa.fs.FileType.File and not any(part.startswith(".") for part in parts):
            yield each.path, _mark(system, each)


def _wanted(names: Iterable[str], given: str, read: Callable[[str], str]) -> list[str]:
    """Of the files below a folder those with rows, sorted."""
    kinds: dict[str, str] = {}
    for name in names:
        folder, _, last = name.rpartition("/")
        if last in PROPERTIES and (kind := re.search(r"^dataproduct_type\s*=\s*(\w+)", read(name), re.MULTILINE)):
            kinds[folder] = kind[1]
        elif rows := HATS.search(name):
            kinds.setdefault(name[: rows.start()], "object")
    given = given.rstrip("/")
    return sorted(name for name in names if _is_data(name[len(given) :]) and _has_rows(name, given, kinds))


def _is_data(below: str) -> bool:
    return below.lower().endswith(PARQUET) and not any(part.startswith("_") for part in below.split("/"))


def _has_rows(name: str, given: str, kinds: Mapping[str, str]) -> bool:
    """Whether a file is of no catalogue, or a partition of one that was asked for by name or is of objects."""
    folder = name
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        if folder in kinds:
            named = len(folder) <= len(given)
            return HATS.match(name, len(folder)) is not None and (named or kinds[folder] not in BESIDE)
    return True


def _text(system: pa.fs.FileSystem, path: str) -> str:
    with system.open_input_stream(path) as file:
        return bytes(file.read(LARGEST)).decode(errors="replace")


def _mark(system: pa.fs.FileSystem, found: pa.fs.FileInfo) -> str:
    time = found.mtime_ns
    if time is not None and not isinstance(system, pa.fs.LocalFileSystem):
        time = time // 10**9 * 10**9  # a service's listing may be more precise than what it says of one file
    return f"{found.size} bytes of {time}"
