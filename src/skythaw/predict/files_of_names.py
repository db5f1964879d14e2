"""The image files that the rows of a CSV file mean, where they name them without ending or with that of before."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from functools import cache

from skythaw.data.sources.image_files import ENDINGS, plain_stem


class NamesWithoutEnding:
    """Finds files below one folder. Each folder that is named is listed once, and only where a file is not there."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._stems = cache(_stems)

    def find(self, name: str) -> str | list[str]:
        """The path of the file that a name means, whether or not it is there; or the names of several that fit."""
        path = posixpath.join(self.folder, name)
        plain = posixpath.normpath(name)
        if posixpath.isabs(plain) or plain.startswith("../") or os.path.lexists(path):
            return path
        below, base = posixpath.split(path)
        found = self._stems(below).get(plain_stem(base) if base.lower().endswith(ENDINGS) else base, [])
        if len(found) > 1:
            return sorted(found)
        return posixpath.join(below, found[0]) if found else path


def _stems(folder: str) -> dict[str, list[str]]:
    """The image files of a folder by their names without ending."""
    found = defaultdict[str, list[str]](list)
    try:
        for name in os.listdir(folder):  # noqa: PTH208 (texts, as everything here)
            if name.lower().endswith(ENDINGS):
                found[plain_stem(name)].append(name)
    except (OSError, ValueError):  # no such folder; a null byte in its name: told when the image is read
        return {}
    return found
