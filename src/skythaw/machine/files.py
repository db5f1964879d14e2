"""Write a file so that its final name only ever holds all of it, and say plainly why it could not be written."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from skythaw.errors import OutputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""errors of a disk that takes no more bytes"""
OPENED = Path("/proc/self/fd")
"""where Linux shows what this process has open; from there a file without a name gets one"""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the code inside into an `OutputError` that names `path` and the reason."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing that becomes `path` when the block ends, and vanishes if it ends by an exception.

    It is written beside `path`, synced to the disk and renamed; folders on the way are made. Meanwhile it has no name
    (Linux), so that nothing is left where the process is killed, or else one that can't be guessed; no link that
    somebody has put there is followed.

    Raises
    ------
    OutputError
        The file can't be opened, synced or renamed. Errors inside the block pass as they are: see `writing`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unnamed = _unnamed_file(path.parent)
        file = unnamed or new_file(temporary)
    has_name = unnamed is None
    try:
        try:
            yield file
            with writing(path):
                file.flush()
                os.fsync(file.fileno())
                if not has_name:
                    _give_name(file, temporary)
                    has_name = True
        finally:
            with writing(path):
                file.close()
        with writing(path):
            temporary.replace(path)
            sync_folder(path.parent)
    except BaseException:
        if has_name:
            discard(temporary)
        raise


def new_file(path: Path) -> BinaryIO:
    """A file open for writing that was not there before: neither a file nor a link of that name is opened.

    Raises
    ------
    OSError
        There is something of that name, or it can't be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _unnamed_file(folder: Path) -> BinaryIO | None:
    """A file in a folder, open for writing, that vanishes with this process; None where the system has none such."""
    if not hasattr(os, "O_TMPFILE") or not OPENED.is_dir():
        return None
    with suppress(OSError):  # the file system has none; what else is wrong is said when a named one is opened
        return os.fdopen(os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o666), "wb")
    return None


def _give_name(file: BinaryIO, path: Path) -> None:
    """Where a file without a name can get none (rights of shared folders), what it holds goes into one that has."""
    folder = os.open(OPENED, os.O_RDONLY)
    try:
        os.link(str(file.fileno()), path, src_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        raise
    except OSError:
        _copy(file, path)
    finally:
        os.close(folder)


def _copy(file: BinaryIO, path: Path) -> None:
    copy = new_file(path)
    try:
        with copy, os.fdopen(os.dup(file.fileno()), "rb") as whole:
            whole.seek(0)
            shutil.copyfileobj(whole, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
    except BaseException:
        discard(path)
        raise


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder where the system keeps temporary files; it vanishes with all that is in it when the block ends.

    Raises
    ------
    OutputError
        There is no such place that can be written.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="skythaw-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(
            f"temporary files can't be written: {error.strerror or error}; let TMPDIR name a folder that has room"
        ) from None
    with folder as name:
        yield Path(name)


def discard(path: Path) -> None:
    """Remove a file, if it is there and can be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system lets a folder be synced."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_web_page(start: bytes) -> bool:
    """Whether a file that begins so is a page in HTML, as a failed download leaves it."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html"))


def require_text(out: Path) -> None:
    """Raise `OutputError` for an output whose name is not in UTF-8: readers of Parquet, and study files, want that."""
    if not is_text(out):
        raise OutputError(f"the name of the output {out} is not in UTF-8, which it should be: choose another")


def is_text(name: Path | str) -> bool:
    """Whether a name of a file is in UTF-8, as Linux does not ask for."""
    return str(name).encode("utf-8", "ignore").decode() == str(name)


def plain_name(name: str) -> str:
    """A file's name as text that every file can hold: what is not UTF-8 in it, and line ends, as escapes."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
