"""A file or folder of the driver's machine, to be found on another one by its content."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from skythaw.errors import DataError


@dataclass(frozen=True)
class SharedFile:
    """One file."""

    name: str
    """below the folder that is shared; the file's own where one is shared alone"""
    size: int
    """bytes"""
    sha256: str
    parts: tuple[Any, ...]
    """handles of its content, in order"""


@dataclass(frozen=True)
class Shared:
    """A file or folder that `Engine.share` was given. Without `files` it is the same path for every worker."""

    path: Path
    files: tuple[SharedFile, ...] = ()
    read: Callable[[Any], bytes] | None = None
    """turns a handle into bytes"""
    is_folder: bool = False

    def here(self, cache: Path) -> Path:
        """Where the content is on this machine: at its own path, or a copy below the folder `cache`, made if need be.

        Raises
        ------
        DataError
            What arrived has another checksum.
        """
        if not self.files or self._is_at(self.path):
            return self.path
        digest = hashlib.sha256("".join(f"{f.name}\0{f.sha256}\n" for f in self.files).encode()).hexdigest()
        folder = cache / "shared" / digest[:32]
        if not self._is_at(folder / self.path.name):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not self._is_at(folder / self.path.name):
                    self._copy_to(folder)
        return folder / self.path.name

    def _is_at(self, path: Path) -> bool:
        try:
            if self.is_folder and [name for name, _ in _files(path)] != [each.name for each in self.files]:
                return False
            return all(same(self._place(path, each), each) for each in self.files)
        except OSError:
            return False

    def _place(self, path: Path, file: SharedFile) -> Path:
        return path / file.name if self.is_folder else path

    def _copy_to(self, folder: Path) -> None:
        """Fetch everything beside the folder, then rename it into place; its lock is held."""
        assert self.read is not None
        made = folder.with_name(f".{folder.name}")
        for each in (folder, made):  # what a killed worker left, or somebody changed
            shutil.rmtree(each, ignore_errors=True)
        try:
            for file in self.files:
                self._fetch(file, self._place(made / self.path.name, file))
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _fetch(self, file: SharedFile, place: Path) -> None:
        assert self.read is not None
        digest = hashlib.sha256()
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as copy:
            for handle in file.parts:
                data = self.read(handle)
                digest.update(data)
                copy.write(data)
            copy.flush()
            os.fsync(copy.fileno())
        if digest.hexdigest() != file.sha256:
            raise DataError(f"{self.path} arrived with another checksum than it was sent with: start again")


def same(path: Path, file: SharedFile) -> bool:
    """Whether a path holds the content of a shared file; raises OSError where there is none."""
    found = path.stat()
    return found.st_size == file.size and _sha256(path, found.st_size, found.st_mtime_ns) == file.sha256


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    """A file's checksum, computed once a process as long as the file looks the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def share(path: Path, put: Callable[[bytes], Any], read: Callable[[Any], bytes], part: int) -> Shared:
    """Share a file or folder.

    Parameters
    ----------
    path
        what is shared; hidden files and folders in a folder are left out
    put
        takes some bytes and gives a handle that other machines can read
    read
        reads such a handle there
    part
        bytes behind one handle, at most
    """
    files = []
    for name, each in _files(path):
        digest, handles, size = hashlib.sha256(), [], 0
        for data in _parts(each, part):
            digest.update(data)
            handles.append(put(data))
            size += len(data)
        files.append(SharedFile(name, size, digest.hexdigest(), tuple(handles)))
    return Shared(path.absolute(), tuple(files), read, path.is_dir())


def _files(path: Path) -> list[tuple[str, Path]]:
    """The files that are shared of a file or folder, with their names below it."""
    if not path.is_dir():
        return [(path.name, path)]
    below = ((each.relative_to(path), each) for each in path.rglob("*") if each.is_file())
    return sorted((name.as_posix(), each) for name, each in below if not any(part[0] == "." for part in name.parts))


def _parts(path: Path, size: int) -> Iterable[bytes]:
    with path.open("rb") as file:
        while data := file.read(size):
            yield data
