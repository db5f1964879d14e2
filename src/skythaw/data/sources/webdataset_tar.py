"""Cutouts from a .tar: a WebDataset (`key.jpg` with `key.cls` or `key.json`), or class folders."""

from __future__ import annotations

import csv
import json
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from skythaw.data.sources.array_images import label_texts
from skythaw.data.sources.column_names import LABEL_NAMES
from skythaw.data.sources.folder import ImportResult, import_folder
from skythaw.data.sources.image_files import NOT_IMAGE
from skythaw.data.sources.label_table import LabelSettings
from skythaw.data.sources.packed_folder import SHARDS, Unpacking, beside, is_hidden, top_of
from skythaw.errors import DataError, SkythawError
from skythaw.machine.walk_folders import walk

LARGEST_NOTE = 1 << 20
"""bytes of a .cls or .json file"""
LABELS = ("cls", "json", "txt", "label")
Notes = dict[str, dict[str, Any]]
"""key of a sample -> column -> value"""


def import_webdataset(path: Path, out: Path, labels: Any = None, **options: Any) -> ImportResult:
    """Unpack an archive, or a folder of them, beside the output; its images get the labels that stand beside them.

    The images of a folder of archives lie in folders that are called as the archives are.

    Raises
    ------
    DataError
        It is damaged, or unpacks to far more than images do; a name leads out of it, or is a link; a .json file is
        none; or see `import_folder`.
    """
    path = Path(path)
    with beside(out, path) as folder:
        images = folder / "images"
        images.mkdir()
        notes, names, passed = _unpack_all(path, images)
        choices = options.get("choices")
        wanted = choices is None or not choices.unlabelled
        if labels is None and wanted and any(notes.values()):
            labels = LabelSettings(_table(folder / f"labels of {path.name}", names, notes), labelled_only=True)
            found = import_folder(images, out, labels, **options)
        else:
            found = import_folder(top_of(images), out, labels, **options)
        return replace(found, left_out=found.left_out | passed)


def _unpack_all(path: Path, images: Path) -> tuple[Notes, dict[str, str], dict[str, str]]:
    """What `_unpack` gives, of all archives; and the files of a folder that are none, each with the reason."""
    if not path.is_dir():
        return *_unpack(path, images), {}
    notes, names, passed = Notes(), dict[str, str](), dict[str, str]()
    for file in sorted(Path(here) / name for here, found, _ in walk(str(path)) for name in found):
        inside = file.relative_to(path).as_posix()
        if not inside.lower().endswith(SHARDS):
            passed[inside] = f"{NOT_IMAGE}: {file.suffix}"
            continue
        below = inside[: -len(next(each for each in SHARDS if inside.lower().endswith(each)))]
        noted, named = _unpack(file, images / below)
        notes |= {f"{below}/{key}": note for key, note in noted.items()}
        names |= {f"{below}/{key}": f"{below}/{name}" for key, name in named.items()}
    return notes, names, passed


def _unpack(path: Path, images: Path) -> tuple[Notes, dict[str, str]]:
    """Write the images; returns what is noted for each key, and the image's file of each key."""
    unpacking, notes, names = Unpacking(path, images), Notes(), dict[str, str]()
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                folder, _, last = member.name.removeprefix("./").rpartition("/")
                stem, _, ending = last.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if member.isdir() or is_hidden(member.name):
                    continue
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None:
                    raise DataError(f"{path}: {member.name!r} is a link or a device, which is refused")
                if ending.lower() in LABELS:
                    notes.setdefault(key, {}).update(
                        _note(path, member.name, ending.lower(), stream.read(LARGEST_NOTE))
                    )
                else:
                    unpacking.write(member.name, stream)  # type: ignore[arg-type]
                    names.setdefault(key, member.name.removeprefix("./"))
    except SkythawError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"can't unpack {path}: {reason}") from None
    return notes, names


def _note(path: Path, name: str, ending: str, data: bytes) -> dict[str, Any]:
    text = data.decode("utf-8", "replace").strip()
    if ending == "txt":
        return {}
    if ending != "json":
        return {"label": text}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{path}: {name!r} is no JSON") from None
    if not isinstance(found, dict):
        return {"label": found}
    lower = {key.lower(): key for key in found}
    label = next((lower[each] for each in LABEL_NAMES if each in lower), None)
    plain = {key: value for key, value in found.items() if isinstance(value, str | int | float)}
    return {("label" if key == label else key): value for key, value in plain.items()}


def _table(file: Path, names: dict[str, str], notes: Notes) -> Path:
    """A table of labels, written for `import_folder`."""
    reserved = ("file", "image", "sha256", "image_path")
    columns = list(dict.fromkeys(column for note in notes.values() for column in note if column not in reserved))
    columns = [column for column in columns if column != "label"]
    labels = label_texts([_whole(notes.get(key, {}).get("label")) for key in names])
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["file", "label", *columns])
        for (key, name), label in zip(names.items(), labels, strict=True):
            writer.writerow([name, label or "", *(notes.get(key, {}).get(column, "") for column in columns)])
    return file


def _whole(value: Any) -> Any:
    """A number that was written as text, so that -1 is known."""
    return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 10 else value
