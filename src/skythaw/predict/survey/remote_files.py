"""Find and open Parquet files on a disk or in object storage: single files, folders of them, HATS catalogues."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs

from skythaw.data.hats_folders import files_with_rows
from skythaw.errors import DataError
from skythaw.machine.files import plain_name
from skythaw.machine.machine_fault import raise_if_memory_is_short
from skythaw.machine.walk_folders import real_folder, walk

LARGEST = 1 << 20
"""bytes of such a description that are read"""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a disk or in object storage, as it was found."""

    given: str
    """the user's path or URL: it opens the file system, and may hold a password"""
    path: str
    """of the file in that file system"""
    shown: str
    """path or URL of the file for messages, without passwords"""
    name: str
    """below the folder that was given"""
    mark: str
    """size and time of change when the file was found"""

    @property
    def key(self) -> str:
        """A name that is the same for the same file, also where links lead to it."""
        folder, _, name = self.path.rpartition("/")
        local = isinstance(filesystem(self.given)[0], pa.fs.LocalFileSystem)
        return f"{real_folder(folder or '/')}/{name}" if local else self.shown

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file, open for reading.

        Raises
        ------
        DataError
            The file can't be reached, is no longer the one that was found, or can't be read in the block.
        """
        with reaching(self.shown):
            system, _ = filesystem(self.given)
            if (now := _mark(system, system.get_file_info(self.path))) != self.mark:
                raise DataError(f"{self.shown} has changed since it was looked at: it had {self.mark}, now {now}")
            with system.open_input_file(self.path) as file:
                yield file


def find_files(given: str, without: Collection[str] = ()) -> list[RemoteFile]:
    """The Parquet files at or below a path or URL, sorted.

    Hidden files, and files whose name begins with ``_``, are passed over. So are the margins and indices of HATS
    catalogues, and the files of a catalogue beside its partitions. Links are followed, but not in circles.

    Parameters
    ----------
    given
        a path, or a URL that pyarrow or fsspec can open
    without
        real paths of folders that are passed over

    Raises
    ------
    DataError
        There is no such file, or the folder can't be read.
    """
    with reaching(shown(given), "look at"):
        system, path = filesystem(given)
        root = (plain_name(path) if isinstance(system, pa.fs.LocalFileSystem) else shown(given)).rstrip("/")
        info = system.get_file_info(path)
        if info.type == pa.fs.FileType.File:
            return [RemoteFile(given, path, root, plain_name(PurePosixPath(path).name), _mark(system, info))]
        marks = dict(_below(system, path, without)) if info.type == pa.fs.FileType.Directory else {}
        names = files_with_rows(marks, path, lambda name: _text(system, name))
    if not names:
        raise DataError(
            f"there is no Parquet file at {shown(given)}; an output without an ending is a folder of shards, and takes "
            "Parquet files alone; for other inputs the output should end in .parquet, .csv or .ecsv"
        )
    start = len(path.rstrip("/"))
    return [RemoteFile(given, n, root + plain_name(n[start:]), plain_name(n[start + 1 :]), marks[n]) for n in names]


@lru_cache(maxsize=64)
def filesystem(given: str) -> tuple[pa.fs.FileSystem, str]:
    """The file system of a path or URL, and the path in it.

    Raises
    ------
    DataError
        No file system opens it.
    """
    if "://" not in given:
        return pa.fs.LocalFileSystem(), os.path.abspath(given)  # noqa: PTH100 (a link keeps its name)
    try:
        opened: tuple[pa.fs.FileSystem, str] = pa.fs.FileSystem.from_uri(given)
        return opened
    except (ValueError, NotImplementedError):  # not one of pyarrow's own
        import fsspec

    try:
        system, path = fsspec.core.url_to_fs(given)
    except Exception as error:  # its file systems raise what they like
        raise DataError(f"can't open {shown(given)}: {_first_line(error)}") from None
    return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(system)), path


def shown(given: str) -> str:
    """A path, or a URL without user, password and options: safe to print."""
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
        raise_if_memory_is_short(error)
        form = " as Parquet" if what == "read" else ""
        raise DataError(f"can't {what} {name}{form}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0] or type(error).__name__
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


def _below(system: pa.fs.FileSystem, folder: str, without: Collection[str]) -> Iterator[tuple[str, str]]:
    """All files below a folder, without hidden ones, with their marks."""
    if isinstance(system, pa.fs.LocalFileSystem):
        for here, names, closed in walk(folder, without):
            if closed:
                raise closed
            paths = [f"{here}/{name}" for name in names]
            yield from ((info.path, _mark(system, info)) for info in system.get_file_info(paths))
        return
    for info in system.get_file_info(pa.fs.FileSelector(folder, recursive=True)):
        parts = PurePosixPath(info.path[len(folder) :]).parts
        if info.type == pa.fs.FileType.File and not any(part.startswith(".") for part in parts):
            yield info.path, _mark(system, info)


def _text(system: pa.fs.FileSystem, path: str) -> str:
    with system.open_input_stream(path) as file:
        return bytes(file.read(LARGEST)).decode(errors="replace")


def _mark(system: pa.fs.FileSystem, info: pa.fs.FileInfo) -> str:
    time = info.mtime_ns
    if time is not None and not isinstance(system, pa.fs.LocalFileSystem):
        time = time // 10**9 * 10**9  # a service's listing may be more precise than what it says of one file
    return f"{info.size} bytes of {time}"
