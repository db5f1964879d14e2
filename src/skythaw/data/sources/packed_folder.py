"""Unpack the regular files of an archive into a folder, within bounds; nothing may lead out of it."""

from __future__ import annotations

import posixpath
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from skythaw.data.sources.image_files import NOT_IMAGE
from skythaw.errors import DataError, SkythawError
from skythaw.machine.walk_folders import walk

SHARDS = (".tar", ".tar.gz", ".tgz")
"""endings of archives that may be parts of one set"""
LARGEST_MEMBER = 256 << 20
"""bytes of one file"""
MOST_MEMBERS = 5_000_000
GROWTH, ALWAYS = 50, 256 << 20
"""all files together may have so many times the bytes of the archive; less than `ALWAYS` bytes are never refused"""
CHUNK = 1 << 20


class Unpacking:
    """Writes files of one archive into a folder, and counts what it wrote."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive, self.folder = archive, folder
        self._room = max(ALWAYS, GROWTH * archive.stat().st_size)
        self._files = 0

    def write(self, name: str, stream: BinaryIO) -> None:
        """Write one file under its name inside the folder.

        Raises
        ------
        DataError
            The name leads out of the folder, was there before, or can't be written; or it, or all files together, are
            too large.
        """
        target = self.folder / safe_name(self.archive, name)
        self._files += 1
        if self._files > MOST_MEMBERS:
            raise DataError(f"{self.archive} holds more than {MOST_MEMBERS} files")
        if target.exists():
            raise DataError(f"{self.archive} holds {name!r} twice; unpack it, and import the folder")
        size = 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            opened = target.open("wb")
        except OSError as error:  # a file and a folder of one name, too long a name, ...
            raise DataError(f"can't unpack {name!r} of {self.archive}: {error.strerror or error}") from None
        with opened as file:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                if size > min(LARGEST_MEMBER, self._room):
                    raise DataError(f"{self.archive}: {name!r} unpacks to more bytes than images have; it is refused")
                file.write(chunk)
        self._room -= size


def safe_name(archive: Path, name: str) -> str:
    """A name inside the archive, if it leads to a place below its top."""
    plain = posixpath.normpath(name.replace("\\", "/"))
    if plain.startswith(("/", "../")) or plain == ".." or re.match(r"[A-Za-z]:", plain) or "\0" in plain:
        raise DataError(f"{archive}: the name {name!r} leads out of the archive; it is refused")
    return plain


def read_tar(path: Path, take: Callable[[str, BinaryIO], None]) -> None:
    """Give every regular file of a .tar, but for hidden ones, to a function: its name, and what reads it.

    Raises
    ------
    DataError
        It is damaged, or holds a link or a device.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isdir() or is_hidden(member.name):
                    continue
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None:
                    raise DataError(f"{path}: {member.name!r} is a link or a device, which is refused")
                take(posixpath.normpath(member.name), stream)  # type: ignore[arg-type]
    except SkythawError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"can't unpack {path}: {getattr(error, 'strerror', None) or error}") from None


def archives_of(folder: Path) -> tuple[list[tuple[Path, str]], dict[str, str]]:
    """The .tar files of a folder, each with what its files are put below; and the other files, each with the reason."""
    found, others = [], dict[str, str]()
    for file in sorted(Path(here) / name for here, names, _ in walk(str(folder)) for name in names):
        inside = file.relative_to(folder).as_posix()
        ending = next((each for each in SHARDS if inside.lower().endswith(each)), None)
        if ending is None:
            others[inside] = f"{NOT_IMAGE}: {file.suffix}"
        else:
            found.append((file, inside[: -len(ending)]))
    return found, others


def is_hidden(name: str) -> bool:
    """Whether a part of the path begins with a dot, or is macOS' own folder."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


@contextmanager
def beside(out: Path, archive: Path) -> Iterator[Path]:
    """A folder beside the output that vanishes at the end; errors name the archive instead of it."""
    place = Path(out).parent.resolve()  # a path of the current folder is otherwise written in two ways: ./x and x
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=place) as folder:
        try:
            yield Path(folder)
        except DataError as error:
            raise DataError(re.sub(re.escape(folder) + r"(/images)?", lambda _: str(archive), str(error))) from None


def top_of(folder: Path) -> Path:
    """The folder, or the only one in it where that holds nothing but folders: an archive often has one extra on top."""
    while True:
        below = list(folder.iterdir())
        if len(below) != 1 or not below[0].is_dir() or not any(each.is_dir() for each in below[0].iterdir()):
            return folder
        folder = below[0]
