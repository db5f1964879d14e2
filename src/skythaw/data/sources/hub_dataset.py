"""A dataset of images on the Hugging Face Hub: its files come into the cache, and other sources read them there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from skythaw.data.sources.image_files import ENDINGS as ENDINGS_OF_IMAGES
from skythaw.data.sources.packed_folder import SHARDS
from skythaw.data.sources.source_formats import TABLE_ENDINGS, source_of
from skythaw.errors import DataError
from skythaw.machine.hub_repository import HubFolder, HubRepository, fetch_repository

ADDRESS = re.compile(
    r"hf:/+datasets/(?P<name>[\w.-]+/[\w.-]+?)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[\w-]+|[\w.%-]+))?(?:/(?P<inside>[^@]+))?/?",
    re.ASCII,
)
PARQUET = (".parquet",)
FILES = (*ENDINGS_OF_IMAGES, *TABLE_ENDINGS)
ARCHIVES = (".zip", *SHARDS, ".h5", ".hdf5", ".npz", ".npy")
"""endings of what is fetched: of Parquet, where there is any; else of images, and tables with them; else of archives"""
PARTS = {"data", "train", "training", "test", "testing", "validation", "valid", "val", "dev"}
"""names of folders that are parts of one set"""


@dataclass(frozen=True)
class HubDataset:
    """A dataset of the Hub on this machine."""

    place: Path
    """the folder or file that holds it"""
    origin: str
    """its address, with the commit"""
    notes: tuple[str, ...]
    """what is to be said of it"""


def fetch_dataset(address: Path | str, store: Path) -> HubDataset:
    """A dataset of the Hub, brought to this machine.

    Parameters
    ----------
    address
        ``hf://datasets/owner/name``, with ``@revision`` (a branch, a tag or a commit) if need be, and with the folder
        or file inside it that is wanted: ``hf://datasets/owner/name@v1/data/train``
    store
        folder for repositories

    Raises
    ------
    DataError
        It is no such address, or several archives are there.
    RemoteError, OutputError
        See `skythaw.machine.hub_repository.fetch_repository`.
    """
    match = ADDRESS.fullmatch(str(address))
    if match is None or ".." in str(address).split("/"):
        raise DataError(
            f"{address} should be hf://datasets/OWNER/NAME, with @REVISION and /FOLDER behind it if need be"
        )
    wanted = HubRepository(match["name"], "dataset", (match["revision"] or "").replace("%2F", "/") or None)
    inside = match["inside"] or ""
    found = _fetched(wanted, inside, [PARQUET, ENDINGS_OF_IMAGES, ARCHIVES], store)
    if source_of(_place(found, inside)) == "folder":  # Parquet may be a table of the images beside it
        _fetched(wanted, inside, [ENDINGS_OF_IMAGES, ARCHIVES, PARQUET], store)
        place = found.path / inside
        archives = _there(place, ARCHIVES)
        if archives and not _there(place, ENDINGS_OF_IMAGES):
            name = archives[0].relative_to(found.path).as_posix()
            raise DataError(f"{wanted} holds archives: say which one is to be read, such as {wanted}/{name}")
        _fetched(wanted, inside, [(*PARQUET, *FILES)], store)
    place, base = _place(found, inside), f"hf://datasets/{wanted.name}@{found.commit}"
    origin = f"{base}/{inside}" if inside else base
    notes = (_folders_as_one(place, origin), _archives_left(found, place, base))
    return HubDataset(place, origin, tuple(note for note in notes if note))


def _archives_left(found: HubFolder, place: Path, base: str) -> str:
    """What is to be said where archives lie beside the images that were read."""
    if not place.is_dir():
        return ""
    below = "" if place == found.path else f"{place.relative_to(found.path).as_posix()}/"
    left = [name for name in found.names if name.startswith(below) and name.lower().endswith(ARCHIVES)]
    if not left:
        return ""
    several = f"{len(left)} archives beside the images were" if len(left) > 1 else "an archive beside the images was"
    return f"{several} left out; to read {'one' if left[1:] else 'it'}, import {base}/{left[0]}"


def _folders_as_one(place: Path, origin: str) -> str:
    """What is to be said where Parquet files lie in folders that may be sets of their own, such as ``64px``."""
    files = _there(place, PARQUET)
    inside = [each.relative_to(place).parts for each in files]
    folders = sorted({parts[0] for parts in inside if len(parts) > 1} - PARTS)
    if len(folders) < 2:
        return ""
    return (
        f"the Parquet files of {len(folders)} folders ({', '.join(folders[:5])}) were read as one set; if they are "
        f"several, import one of them: {origin}/{folders[0]}"
    )


def _fetched(wanted: HubRepository, inside: str, kinds: list[tuple[str, ...]], store: Path) -> HubFolder:
    """Files of the first kind that there is; of a folder or a file inside the repository, if that is wanted."""
    before = f"{escape(inside)}/*" if inside else "*"
    own = [(escape(inside),)] if inside.lower().endswith((*PARQUET, *ARCHIVES)) else []
    sets = [[before + each for ending in kind for each in {ending, ending.upper()}] for kind in kinds]
    return fetch_repository(wanted, [*own, *sets], store)


def _place(found: HubFolder, inside: str) -> Path:
    """What is to be read: the folder, or the one archive in it."""
    place = found.path / inside
    archives = _there(place, ARCHIVES)
    return archives[0] if len(archives) == 1 and not _there(place, (*PARQUET, *ENDINGS_OF_IMAGES)) else place


def _there(place: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of a folder with such endings; none if it is no folder."""
    files = sorted(place.rglob("*")) if place.is_dir() else []
    own = [each for each in files if ".cache" not in each.relative_to(place).parts]
    return [each for each in own if each.name.lower().endswith(endings) and each.is_file()]
