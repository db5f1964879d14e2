"""Cutouts from image files: class-named folders, or a folder and a table of labels."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.cutouts import write_cutouts
from skythaw.data.decode import BrokenImageError
from skythaw.data.image_form import Form, one_form
from skythaw.data.part_names import PART_COLUMNS
from skythaw.data.sources.band_files import join_bands, looks_like_bands
from skythaw.data.sources.column_names import some_names
from skythaw.data.sources.folder_layout import read_layout, read_parts
from skythaw.data.sources.image_files import FoundFiles, find_images, plain_stem
from skythaw.data.sources.label_table import LabelSettings
from skythaw.data.sources.match_labels import match_labels
from skythaw.data.sources.own_table import own_table
from skythaw.data.sources.read_images import ImageOptions, ImageReader, is_one_band, refuse_broken, scaled
from skythaw.data.sources.set_choices import Copies, SetChoices, named_labels
from skythaw.errors import DataError

AS_THEY_ARE = ImageOptions()
AS_NAMED = SetChoices()
Progress = Callable[[Iterable[Any], int], Iterable[Any]]
Columns = Sequence[tuple[str, pa.DataType]]


@dataclass(frozen=True)
class ImportResult:
    """What became of the image files."""

    objects: int
    """cutouts written"""
    broken: dict[str, str]
    """object_id -> why its image was left out"""
    left_out: dict[str, str] = field(default_factory=dict)
    """file, or row of the table of labels, that is not read -> why; with the files that are read these are all files"""
    changed: dict[str, int] = field(default_factory=dict)
    """what was done to images or labels, or how they are read, in words -> to how many"""
    notes: tuple[str, ...] = ()
    """what else the user should know, in whole sentences"""


@dataclass(frozen=True)
class _Item:
    """One image, and what is known of its object."""

    object_id: str
    label: str | None
    file: Path
    """absolute"""
    name: str
    """path inside the folder"""
    extra: dict[str, Any]


@dataclass(frozen=True)
class _Labelled:
    """The images that are to be read, and what was found while they got their labels."""

    items: list[_Item]
    columns: Columns
    where: Path
    """folder or table that the labels come from"""
    left_out: dict[str, str] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def import_folder(  # noqa: PLR0913 (options of the command, in two groups)
    folder: Path,
    out: Path,
    labels: Path | LabelSettings | None = None,
    *,
    skip_broken: bool = False,
    images: ImageOptions = AS_THEY_ARE,
    choices: SetChoices = AS_NAMED,
    progress: Progress | None = None,
) -> ImportResult:
    """Gather image files into one file of cutouts; their bytes are kept as they are where all are alike and square.

    Parameters
    ----------
    folder
        with class-named folders, or any folder if there are `labels`; hidden files are passed over
    out
        the Parquet file to write
    labels
        a table with a column that names the image (`object_id`, `objid`, `id`, `name`; `file`, `filename`, `path`,
        ...) and `label` or `class`; its other columns are kept. None: folders name the classes, or the one table that
        lies among the images
    skip_broken
        leave out images that can't be read, instead of refusing them
    images
        what becomes of images that differ in size, have masked pixels, or are in parts
    choices
        what to do with names of classes, and with images that come more than once
    progress
        called with the files and their number; twice, because all sizes are looked at first

    Returns
    -------
    ImportResult
        an object is called by the table's id, or by its file's name without ending, or, if two files would be called
        alike, by their paths

    Raises
    ------
    DataError
        No images, no classes, folders that may mean several things, a file without label or a label without file, a
        class name that would do harm, one image with several labels, a broken image, images of several kinds or bands,
        sizes too different for a common square, files that look like single bands.
    OutputError
        `out` can't be written.
    """
    folder = Path(folder)
    found = _find(folder)
    left_out = dict(found.left_out)
    reader = ImageReader(folder, images, _bands(folder, found.images, images, left_out))
    files = sorted(reader.bands) or found.images
    own = None if labels or choices.unlabelled else _labels_inside(folder, files, found.left_out, choices)
    labels = labels or own
    labelled = _labelled(folder, files, labels, choices)
    left_out |= labelled.left_out
    notes = labelled.notes
    if own is not None:
        name = own.path.relative_to(folder).as_posix()
        notes, _ = (f"the labels are those of {name}, the table that lies among the images", *notes), left_out.pop(name)
    shown = (lambda some, _: some) if progress is None else progress
    items = labelled.items
    reader.settle_side(item.name for item in shown(items, len(items)))
    if choices.drop_conflicts:
        conflicts = _conflicts(items, reader)
        items, left_out = [item for item in items if item.name not in conflicts], left_out | conflicts
    broken: dict[str, str] = {}
    source = ("none" if choices.unlabelled else "folders") if labels is None else labelled.where.name
    recipe = {"source": "folder", "labels": source} | _done(reader) | choices.recipe
    rows = _rows(shown(items, len(items)), reader, broken, skip_broken)
    count = write_cutouts(out, rows, labelled.columns, recipe)
    for item in items:
        if item.object_id in broken:
            left_out |= dict.fromkeys(reader.files(item.name), broken[item.object_id])
    notes = (*notes, *_without_objects(found, labelled.items, items, broken))
    return ImportResult(count, broken, dict(sorted(left_out.items())), labelled.changed | reader.changed, notes)


def _without_objects(
    found: FoundFiles, every: Sequence[_Item], read: Sequence[_Item], broken: dict[str, str]
) -> list[str]:
    """Folders and classes of which nothing was written, in sentences."""
    said = [f"no image lies in {some_names(found.bare)}"] if found.bare else []
    lost = {each.label for each in every} - {each.label for each in read if each.object_id not in broken}
    return [
        *said,
        *(f"no image of class {name!r} could be taken: there is no such class" for name in sorted(filter(None, lost))),
    ]


def _labels_inside(
    folder: Path, files: Sequence[str], others: dict[str, str], choices: SetChoices
) -> LabelSettings | None:
    """The table of labels that lies among the images; None where folders name the classes."""
    try:
        read_layout(folder, files, choices.level)
    except DataError as error:
        return own_table(folder, others, error)
    return None


def _labelled(
    folder: Path, files: Sequence[str], labels: Path | LabelSettings | None, choices: SetChoices
) -> _Labelled:
    """The images with their labels, from the folders or from the table."""
    if labels is None and choices.unlabelled:
        ids = _names(files)
        known = _Labelled([_Item(ids[name], None, folder / name, name, {}) for name in files], (), folder)
    elif labels is None:
        items, columns, notes = _from_folders(folder, files, choices.level)
        known = _Labelled(items, columns, folder, notes=notes)
    else:
        settings = labels if isinstance(labels, LabelSettings) else LabelSettings(Path(labels))
        table = match_labels(folder, files, settings, _names(files))
        items = [_Item(row.object_id, row.label, folder / row.name, row.name, row.extra) for row in table.rows]
        items, with_parts, notes = _with_parts(items, table.columns)
        known = _Labelled(items, with_parts, settings.path, table.left_out, table.changed, (*notes, *table.notes))
    named = named_labels([item.label for item in known.items], known.where, choices)
    items = [replace(item, label=label) for item, label in zip(known.items, named.labels, strict=True)]
    return replace(known, items=items, changed=known.changed | named.changed, notes=(*known.notes, *named.said))


def _find(folder: Path) -> FoundFiles:
    """Every file of a folder: an image, or why it is none."""
    if not os.path.isdir(folder):  # noqa: PTH112 (False, not an error, where it may not be looked at)
        raise DataError(f"there is no folder {folder}")
    found = find_images(str(folder))
    for name, reason in found.closed.items():
        raise DataError(f"can't read the folder {name}: {reason}")
    if not found.images:
        others = [f"{name} ({reason})" for name, reason in found.left_out.items()]
        passed = f": none of its {len(others)} files is an image: {some_names(others)}" if others else ""
        raise DataError(f"the folder {folder} holds no images{passed}")
    return found


def _bands(
    folder: Path, names: Sequence[str], options: ImageOptions, left_out: dict[str, str]
) -> dict[str, dict[str, str]]:
    """Of images that are made of several files: the file of each band. Fills `left_out`."""
    if options.band_from == "name":
        objects, others = join_bands(names)
        left_out.update(others)
        return objects
    if options.band_from is None and (reason := looks_like_bands(names, lambda name: is_one_band(folder / name))):
        raise DataError(f"{folder}: {reason}")
    return {}


def _done(reader: ImageReader) -> dict[str, Any]:
    """What the recipe says of the options, and of the common square."""
    done = reader.options.recipe
    if reader.side is not None:
        done["size"] = reader.side
    return {"images": done} if done else {}


def _from_folders(
    folder: Path, files: Sequence[str], level: int | None
) -> tuple[list[_Item], list[tuple[str, pa.DataType]], tuple[str, ...]]:
    """The images with the classes and parts that their folders name, the columns of the parts, and what was found."""
    layout, ids = read_layout(folder, files, level), _names(files)
    extras = [{}] * len(files) if layout.parts is None else [{PART_COLUMNS[0]: part} for part in layout.parts]
    items = [
        _Item(ids[name], label, folder / name, name, extra)
        for name, label, extra in zip(files, layout.labels, extras, strict=True)
    ]
    return items, [] if layout.parts is None else [(PART_COLUMNS[0], pa.string())], layout.said


def _with_parts(
    items: list[_Item], columns: Sequence[tuple[str, pa.DataType]]
) -> tuple[list[_Item], Sequence[tuple[str, pa.DataType]], tuple[str, ...]]:
    """The images of a table with the parts that their folders name, unless the table has such a column."""
    column, (parts, said) = PART_COLUMNS[0], read_parts([item.name for item in items])
    if parts is None or column in dict(columns):
        return items, columns, ()
    with_parts = [replace(item, extra=item.extra | {column: part}) for item, part in zip(items, parts, strict=True)]
    return with_parts, [*columns, (column, pa.string())], tuple(said)


def _names(files: Sequence[str]) -> dict[str, str]:
    """What to call each object: its file's name without ending, or the whole path where two would be called alike."""
    stems = {name: plain_stem(posixpath.basename(name)) for name in files}
    return stems if len(set(stems.values())) == len(files) else {name: name for name in files}


def _conflicts(items: Sequence[_Item], reader: ImageReader) -> dict[str, str]:
    """The files whose image has other labels as well, and the reason to leave them out; every image is decoded."""
    copies, changed = Copies(), reader.changed.copy()
    for item in items:
        try:
            copies.add(item.name, item.label, reader.read(item.name, item.object_id).pixels)
        except BrokenImageError:
            continue  # told when its row is made
    reader.changed.clear()
    reader.changed.update(changed)  # every image is read once more
    return {file: why for name, why in copies.left_out().items() for file in reader.files(name)}


def _rows(
    items: Iterable[_Item], reader: ImageReader, broken: dict[str, str], skip_broken: bool
) -> Iterator[dict[str, Any]]:
    """The rows to write; fills `broken`. Images of several forms or labels are refused when all have been seen."""
    forms, errors = Counter[Form](), list[tuple[object, str, str]]()
    copies = Copies()
    for item in items:
        try:
            image = reader.read(item.name, item.object_id)
            copies.add(item.object_id, item.label, image.pixels)
        except BrokenImageError as error:
            broken[item.object_id] = error.reason
            errors.append((item.file, error.name, error.reason))
            continue
        forms[image.form] += 1
        own = {"object_id": item.object_id, "label": item.label, "image": image.data, "image_path": item.name}
        yield item.extra | scaled(item.extra, image.scale) | own
    if not skip_broken:
        refuse_broken(errors, reader.folder)
    if not forms:
        name, reason = next(iter(broken.items()))
        raise DataError(f"none of the {len(broken)} images can be used; the first is {name!r}: {reason}")
    one_form(forms)
    copies.refuse()
