"""The .cls and .json files of a WebDataset: what they say, and to which image each belongs."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from skythaw.data.sources.column_names import label_names
from skythaw.errors import DataError

LABELS = (".cls", ".json", ".label")
Notes = dict[str, dict[str, Any]]
"""name of a file -> column -> value"""
FAULT = "\0fault"
"""in place of a column: why a file can't be used, which matters only if it belongs to an image"""


def read_note(path: Path, name: str, data: bytes) -> dict[str, Any]:
    """The label that a .cls file holds, or the plain values of a .json file, of which the label is called so."""
    text = data.decode("utf-8", "replace").strip()
    if not name.lower().endswith(".json"):
        return {"label": text}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {FAULT: f"{path}: {name!r} is no JSON"}
    if not isinstance(found, dict):
        found = {"label": found}
    lower = {key.lower(): key for key in found}
    names = [each for each in label_names(lower) if each in lower]
    label = lower[names[0]] if names else None
    note = {key: value for key, value in found.items() if key != label and isinstance(value, str | int | float)}
    if label is None:
        return note
    if isinstance(found[label], dict):
        return {FAULT: f"{path}: the label in {name!r} should be text or a number, not {str(found[label])[:60]}"}
    return note | {"label": found[label]}


def notes_of_images(notes: Notes, images: Sequence[str]) -> tuple[Notes, list[str]]:
    """What is noted of each image, by its file; and the files that belong to no image.

    A file belongs to the image whose name is alike up to the first dot; where that fits none, or brings two such files
    together (``J00.3+1.cls``, ``J00.7+2.cls``), up to the last dot. Of several images of a name, the first one has it.

    Raises
    ------
    DataError
        A file that belongs to an image can't be used.
    """
    key = _until_last if _are_apart(notes, images) else _until_first
    first: dict[str, str] = {}
    for image in images:
        first.setdefault(key(image), image)
    found, alone = Notes(), list[str]()
    for name, note in notes.items():
        place = first.get(key(name))
        if place is None:
            alone.append(name)
            continue
        if FAULT in note:
            raise DataError(note[FAULT])
        found.setdefault(place, {}).update(note)
    with_others = {image: found.get(image, {}) for image in first.values()} if found else {}
    return with_others, alone


def _are_apart(notes: Notes, images: Sequence[str]) -> bool:
    """Whether names are to be compared up to the last dot."""
    pairs: Callable[[Callable[[str], str]], int] = lambda key: len(  # noqa: E731
        {key(name) for name in notes} & {key(name) for name in images}
    )
    together = Counter((_until_first(name), posixpath.splitext(name)[1].lower()) for name in notes)
    clash = any(count > 1 for count in together.values())
    return (clash or not pairs(_until_first)) and pairs(_until_last) > 0


def _until_first(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.partition('.')[0]}"


def _until_last(name: str) -> str:
    return posixpath.splitext(name)[0]
