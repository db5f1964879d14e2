"""Unpack an archive, or a folder of them, whose images are to be predicted: every file is an image, a label or told."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import BinaryIO

from skythaw.data.sources.image_files import NOT_IMAGE
from skythaw.data.sources.packed_folder import Unpacking, archives_of, read_tar
from skythaw.data.sources.webdataset_notes import LABELS
from skythaw.data.sources.zip_archive import unpack_zip

ARCHIVES = ("zip", "webdataset")


def unpack(kind: str, path: Path, images: Path) -> dict[str, str]:
    """Write the files of an archive into a folder; those of a folder of archives into folders called as the archives.

    Parameters
    ----------
    kind
        the source that would import it: one of `ARCHIVES`
    path
        the archive, or a folder of .tar files
    images
        the folder to fill

    Returns
    -------
    dict
        what is not unpacked -> why; labels that stand beside their image are no input, and not told

    Raises
    ------
    DataError
        It is damaged, or unpacks to far more than images do; a name leads out of it, or is a link.
    """
    if kind == "zip":
        unpack_zip(path, images)
        return {}
    if not path.is_dir():
        return _unpack_tar(path, images)
    archives, passed = archives_of(path)
    for file, below in archives:
        passed |= {f"{below}/{name}": why for name, why in _unpack_tar(file, images / below).items()}
    return passed


def _unpack_tar(path: Path, images: Path) -> dict[str, str]:
    """Write the files of one .tar, but for labels; those that stand beside no image are told."""
    unpacking, keys, labels = Unpacking(path, images), set[str](), dict[str, str]()

    def take(name: str, stream: BinaryIO) -> None:
        folder, last = posixpath.split(name)
        key = posixpath.join(folder, last.partition(".")[0])
        if last.lower().endswith(LABELS):
            labels[name] = key
        else:
            unpacking.write(name, stream)
            keys.add(key)

    read_tar(path, take)
    return {name: f"{NOT_IMAGE}: .{name.rpartition('.')[2]}" for name, key in labels.items() if key not in keys}
