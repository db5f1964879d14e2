"""Which files of a folder hold rows: HATS catalogues repeat rows in margins and indices, and describe themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

ENDINGS = (".parquet", ".pq")
HATS = re.compile(r"(?:/dataset)?/Norder=\d+/Dir=\d+/Npix=\d+")
"""the partitions of a HATS catalogue, below its folder; its other Parquet files repeat some of the rows"""
PROPERTIES = ("hats.properties", "properties")
"""files in which a HATS catalogue describes itself"""
BESIDE = ("margin", "association", "index", "map")
"""kinds of HATS folders that go with a catalogue, and repeat its rows or have none"""


def files_with_rows(names: Iterable[str], given: str, read: Callable[[str], str]) -> list[str]:
    """Those of the Parquet files below a folder that hold rows, sorted.

    Parameters
    ----------
    names
        paths of all files below the folder, with forward slashes
    given
        the folder
    read
        gives the text of a file
    """
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
    return below.lower().endswith(ENDINGS) and not any(part.startswith("_") for part in below.split("/"))


def _has_rows(name: str, given: str, kinds: Mapping[str, str]) -> bool:
    """Whether a file belongs to no HATS catalogue, or is a partition of a catalogue of objects.

    A partition of another kind of catalogue counts where the user gave the folder of that catalogue.
    """
    folder = name
    while "/" in folder:
        folder = folder.rpartition("/")[0]
        if folder in kinds:
            named = len(folder) <= len(given)
            return HATS.match(name, len(folder)) is not None and (named or kinds[folder] not in BESIDE)
    return True
