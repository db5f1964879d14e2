"""Cutouts from image files: class-named folders, or a folder and a table of labels."""

from __future__ import annotations

import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.cutouts import write_cutouts
from skythaw.data.decode import BrokenImageError, decode, probe
from skythaw.data.image_form import Form, one_form
from skythaw.data.sources.label_table import LabelTable, read_labels
from skythaw.errors import DataError
from skythaw.machine.walk_folders import walk

SUFFIXES = (".jpg", ".jpeg", ".png", ".fits", ".fit")
COMPRESSED = tuple(ending + how for ending in (".fits", ".fit") for how in (".gz", ".bz2", ".fz", ".xz", ".zip", ".z"))
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class ImportResult:
    """What became of the image files."""

    objects: int
    """cutouts written"""
    broken: dict[str, str]
    """object_id -> why its image was left out"""


@dataclass(frozen=True)
class _Item:
    """One image file, and what is known of its object."""

    object_id: str
    label: str | None
    file: Path
    """absolute"""
    name: str
    """path inside the folder"""
    extra: dict[str, Any]


def import_folder(
    folder: Path,
    out: Path,
    labels: Path | None = None,
    *,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Gather JPEG and PNG files, or FITS files, into one file of cutouts; their bytes are kept as they are.

    Parameters
    ----------
    folder
        with class-named folders, or any folder if there are `labels`; hidden files are passed over
    out
        the Parquet file to write
    labels
        CSV with a column that names the image (`object_id`, `objid`, `id`, `name`; `file`, `filename`, `path`, ...) and
        `label` or `class`; its other columns are kept
    skip_broken
        leave out images that can't be read, instead of refusing them
    progress
        called with the files and their number

    Returns
    -------
    ImportResult
        an object is called by the table's id, or by its file's name without ending, or, if two files would be called
        alike, by their paths

    Raises
    ------
    DataError
        No images, no classes, a file without label or a label without file, a broken image, compressed FITS,
        images of several kinds, bands or sizes.
    OutputError
        `out` can't be written.
    """
    files = _find(Path(folder))
    columns: Sequence[tuple[str, pa.DataType]] = ()
    if labels is None:
        items = _from_folders(Path(folder), files)
    else:
        table = read_labels(Path(labels))
        items, columns = _from_table(Path(folder), files, table, Path(labels)), table.columns
    broken: dict[str, str] = {}
    steps = items if progress is None else progress(items, len(items))
    recipe = {"source": "folder", "labels": "folders" if labels is None else Path(labels).name}
    count = write_cutouts(out, _rows(steps, broken, skip_broken), columns, recipe)
    return ImportResult(count, broken)


def _find(folder: Path) -> list[str]:
    """Paths of the images inside a folder, with forward slashes, sorted."""
    if not os.path.isdir(folder):  # noqa: PTH112 (False, not an error, where it may not be looked at)
        raise DataError(f"there is no folder {folder}")
    images, compressed = list[str](), list[str]()
    for here, names, closed in walk(str(folder)):
        if closed:
            raise DataError(f"can't read the folder {closed.filename}: {closed.strerror}")
        paths = [Path(here, name) for name in names if name.lower().endswith(SUFFIXES)]
        images += [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
        compressed += [name for name in names if name.lower().endswith(COMPRESSED)]
    if compressed:
        raise DataError(
            f"{folder} has {len(compressed)} compressed FITS files ({_some(compressed)}), which are not read; "
            "decompress them"
        )
    if not images:
        raise DataError(f"the folder {folder} holds no {', '.join(SUFFIXES)} files")
    return sorted(images)


def _from_folders(folder: Path, files: Sequence[str]) -> list[_Item]:
    if loose := [name for name in files if "/" not in name]:
        raise DataError(
            f"{len(loose)} images lie directly in {folder} and have no class ({_some(loose)}); put them into folders "
            f"named by class, such as {folder.name}/STAR/, or give a table of labels (--labels CSV)"
        )
    ids = _names(files)
    return [_Item(ids[name], name.split("/")[0], folder / name, name, {}) for name in files]


def _from_table(folder: Path, files: Sequence[str], table: LabelTable, path: Path) -> list[_Item]:
    index = defaultdict(list)
    for name in files:
        stem, base = posixpath.splitext(name)[0], posixpath.basename(name)
        for key in {name, stem, base, posixpath.splitext(base)[0]}:
            index[key].append(name)
    matched = [_match(folder, index, each, path) for each in table.files]
    if missing := [each for each, name in zip(table.files, matched, strict=True) if not name]:
        raise DataError(f"{path} labels {len(missing)} images that are not in {folder}: {_some(missing)}")
    times = Counter(matched)
    if twice := [name for name in times if times[name] > 1]:
        raise DataError(f"{path} has more than one row for {len(twice)} images: {_some(twice)}")
    if unlabelled := [name for name in files if name not in times]:
        raise DataError(f"{len(unlabelled)} images in {folder} have no row in {path}: {_some(unlabelled)}")
    names = _names(files)
    items = []
    for row, name in enumerate(matched):
        extra = {column: values[row] for (column, _), values in zip(table.columns, table.values, strict=True)}
        object_id = names[name] if table.ids is None else table.ids[row]
        items.append(_Item(object_id, table.labels[row], folder / name, name, extra))
    return items


def _match(folder: Path, index: dict[str, list[str]], text: str, path: Path) -> str:
    """The one image that a row of the table names, or nothing. It must lie in the folder, links resolved."""
    inside = posixpath.normpath(text.replace("\\", "/")) if text else ""
    if posixpath.isabs(inside):
        inside = os.path.relpath(inside, folder.absolute()).replace(os.sep, "/")
    names = index.get(inside, [])
    if len(names) > 1 and inside not in names:
        raise DataError(f"{path}: {text!r} may be any of {_some(names)}; give the path inside {folder}")
    name = inside if inside in names else next(iter(names), "")
    if f"{inside}/".startswith("../") or (name and not (folder / name).resolve().is_relative_to(folder.resolve())):
        raise DataError(f"{path}: {text!r} leads out of the folder {folder}")
    return name


def _names(files: Sequence[str]) -> dict[str, str]:
    """What to call each object: its file's name without ending, or the whole path where two would be called alike."""
    stems = {name: posixpath.splitext(posixpath.basename(name))[0] for name in files}
    return stems if len(set(stems.values())) == len(files) else {name: name for name in files}


def _rows(items: Iterable[_Item], broken: dict[str, str], skip_broken: bool) -> Iterator[dict[str, Any]]:
    """The rows to write; fills `broken`. Images of several forms are refused when all have been seen."""
    forms: Counter[Form] = Counter()
    for item in items:
        try:
            data = _read(item)
            decode(data, item.object_id)
            forms[probe(data, item.object_id)] += 1
        except BrokenImageError as error:
            if not skip_broken:
                raise DataError(f"{item.file}: {error}; to leave out such images: --skip-broken") from None
            broken[item.object_id] = error.reason
            continue
        own = {"object_id": item.object_id, "label": item.label, "image": data, "image_path": item.name}
        yield item.extra | own
    if forms:
        one_form(forms)


def _read(item: _Item) -> bytes:
    try:
        return item.file.read_bytes()
    except OSError as error:
        raise BrokenImageError(item.object_id, error.strerror or str(error)) from None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
