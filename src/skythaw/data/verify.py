"""Whether every cutout of a file is still the one that was put there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import BrokenImageError, decode, require_checksum

SCHEMA = 1
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


def verify(path: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Hold every image against its recorded checksum, and decode it, in bounded memory.

    Parameters
    ----------
    path
        a file or folder of cutouts
    progress
        called with the images and their number

    Returns
    -------
    dict
        JSON-able: `objects`; `unchecked` (objects without a recorded checksum); `damaged` (`object_id` and `reason` of
        each whose bytes differ from it, or don't decode)

    Raises
    ------
    DataError
        The file can't be read as cutouts: what is damaged is not an image.
    """
    cutouts = read_cutouts(path, need_labels=False)
    names = cutouts.table.column_names
    unchecked = cutouts.table["sha256"].null_count if "sha256" in names else len(cutouts)
    damaged = []
    images = cutouts.images() if progress is None else progress(cutouts.images(), len(cutouts))
    for name, data, sha256 in images:
        try:
            require_checksum(data, sha256, name)
            decode(data, name)
        except BrokenImageError as error:
            damaged.append({"object_id": name, "reason": error.reason})
    return {"schema": SCHEMA, "objects": len(cutouts), "unchecked": unchecked, "damaged": damaged}
