"""Cutouts from a .tar: a WebDataset (`key.jpg` with `key.cls` or `key.json`), or class folders."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from skythaw.data.sources.array_labels import label_texts
from skythaw.data.sources.column_names import ID_NAMES
from skythaw.data.sources.folder import ImportResult, import_folder
from skythaw.data.sources.folder_layout import read_layout
from skythaw.data.sources.image_files import find_images
from skythaw.data.sources.label_table import LabelSettings
from skythaw.data.sources.packed_folder import Unpacking, archives_of, beside, read_tar, top_of
from skythaw.data.sources.webdataset_notes import LABELS, Notes, notes_of_images, read_note
from skythaw.errors import DataError

LARGEST_NOTE = 1 << 20
"""bytes of a .cls or .json file"""
RESERVED = ("label", "file", "image", "sha256", "image_path")
"""columns that a file of cutouts has of its own"""


def import_webdataset(path: Path, out: Path, labels: Any = None, **options: Any) -> ImportResult:
    """Unpack an archive, or a folder of them, beside the output; its images get the labels that stand beside them.

    If none of its .cls and .json files has a label, folders name the classes; the other values of a .json file become
    columns. The images of a folder of archives lie in folders that are called as the archives are.

    Raises
    ------
    DataError
        It is damaged, or unpacks to far more than images do; a name leads out of it, or is a link; a .json file of an
        image is none; no image has a label; or see `import_folder`.
    """
    path = Path(path)
    with beside(out, path) as folder:
        images = folder / "images"
        images.mkdir()
        notes, names, passed = _unpack_all(path, images)
        there = set(find_images(str(images)).images) if notes else ()
        paired, alone = notes_of_images(notes, [name for name in names if name in there])
        passed |= dict.fromkeys(alone, "no image has its name, so it belongs to none")
        choices = options.get("choices")
        said: Sequence[str] = ()
        if labels is not None or not paired or (choices is not None and choices.unlabelled):
            top = top_of(images)
            said = []
            if labels is not None and paired:
                said = [f"{len(notes) - len(alone)} .cls and .json files are not read, for --labels is given"]
        elif any("label" in note for note in paired.values()):
            top, known = images, {name: paired[name].get("label") for name in paired}
            labels = _table(path, folder, known, paired)
        else:
            top = top_of(images)
            inside = top.relative_to(images).as_posix()
            below = "" if inside == "." else f"{inside}/"
            paired = {name.removeprefix(below): note for name, note in paired.items()}
            known, said = _from_folders(path, top, paired, None if choices is None else choices.level)
            labels = _table(path, folder, known, paired)
        found = import_folder(top, out, labels, **options)
        return replace(found, left_out=found.left_out | passed, notes=(*said, *found.notes))


def _from_folders(
    path: Path, top: Path, notes: Notes, level: int | None
) -> tuple[dict[str, str | None], Sequence[str]]:
    """The class of each image that its folder names, and what is to be said of the folders."""
    files = list(find_images(str(top)).images)
    try:
        layout = read_layout(top, files, level)
    except DataError as error:
        keys = list(dict.fromkeys(key for note in notes.values() for key in note))
        shown = ", ".join(keys[:20]) or "none"
        raise DataError(
            f"{path}: no image has a label: no .json file has the key label, class or alike (the keys are {shown}), "
            f"and folders name no classes either ({error}); if there are no labels: --unlabelled"
        ) from None
    return dict(zip(files, layout.labels, strict=True)), [
        each for each in layout.said if "are parts of the data" not in each
    ]


def _unpack_all(path: Path, images: Path) -> tuple[Notes, list[str], dict[str, str]]:
    """What `_unpack` gives, of all archives; and the files of a folder that are none, each with the reason."""
    if not path.is_dir():
        return *_unpack(path, images), {}
    archives, passed = archives_of(path)
    notes, names = Notes(), list[str]()
    for file, below in archives:
        noted, named = _unpack(file, images / below)
        notes |= {f"{below}/{key}": note for key, note in noted.items()}
        names += [f"{below}/{name}" for name in named]
    return notes, names, passed


def _unpack(path: Path, images: Path) -> tuple[Notes, list[str]]:
    """Write the images; returns what is noted in each file of labels, and the files of images."""
    unpacking, notes, names = Unpacking(path, images), Notes(), list[str]()

    def take(name: str, stream: BinaryIO) -> None:
        if name.lower().endswith(LABELS):
            notes[name] = read_note(path, name, stream.read(LARGEST_NOTE))
        else:
            unpacking.write(name, stream)
            names.append(name)

    read_tar(path, take)
    return notes, names


def _table(path: Path, folder: Path, known: Mapping[str, Any], notes: Notes) -> LabelSettings:
    """A table of labels, written for `import_folder`; an id that not every image has alone is an ordinary column."""
    file = folder / f"labels of {path.name}"
    columns = list(dict.fromkeys(column for note in notes.values() for column in note if column not in RESERVED))
    header = []
    for column in columns:
        values = {notes.get(name, {}).get(column, "") for name in known} - {""}
        is_id = column.strip().lower().replace(" ", "_") in ID_NAMES
        header.append(f"{column}_in_json" if is_id and len(values) < len(known) else column)
    try:
        labels = label_texts(list(known.values()))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["file", "label", *header])
        for name, label in zip(known, labels, strict=True):
            writer.writerow([name, label or "", *(notes.get(name, {}).get(column, "") for column in columns)])
    return LabelSettings(file, labelled_only=True)
