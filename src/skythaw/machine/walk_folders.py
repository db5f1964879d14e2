"""Every file below a folder: links are followed, but not in circles."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path


def walk(
    folder: str, without: Collection[str] = (), *, hidden: bool = False
) -> Iterator[tuple[str, list[str], OSError | None]]:
    """Each folder from this one down, with the names of its files.

    Hidden folders are passed over, and hidden files, too, unless they are asked for.

    Parameters
    ----------
    folder
        where to begin
    without
        real paths of files and folders that are passed over, too
    hidden
        name hidden files as well

    Yields
    ------
    tuple
        a folder's path with forward slashes, the names of its files (none where another path led to it before), and
        None; in the end each folder that can't be looked into, without names, and the error that says why
    """
    seen, closed = set(), list[OSError]()
    for path, folders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        here, real = Path(path).as_posix(), real_folder(path)
        if real in seen:
            folders[:] = []
            yield here, [], None
            continue
        seen.add(real)
        folders[:], names[:] = (
            [name for name in listed if (shown or not name.startswith(".")) and f"{real}/{name}" not in without]
            for listed, shown in ((folders, False), (names, hidden))
        )
        yield here, names, None
    for error in closed:
        yield Path(error.filename).as_posix(), [], error


@lru_cache(maxsize=1024)
def real_folder(folder: str) -> str:
    """A folder's path with no link in it."""
    return Path(os.path.realpath(folder)).as_posix()
