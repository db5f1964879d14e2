"""Find the image of each row of a table of labels, and the row of each image."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.part_names import part_of
from skythaw.data.sources.column_names import some_names
from skythaw.data.sources.image_files import ENDINGS, plain_stem
from skythaw.data.sources.label_table import LabelSettings, read_labels
from skythaw.data.sources.rounded_ids import RoundedIds
from skythaw.errors import DataError

OPTIONS = "--labelled-only takes only the images that have a row, --skip-missing leaves out the rows without an image"
OTHER_ENDING = "image found, though its file has another ending than the table says"
DRIVE = re.compile(r"[A-Za-z]:/")
Index = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class MatchedRow:
    """A row of a table of labels whose image was found."""

    object_id: str
    label: str | None
    name: str
    """path of the image inside the folder"""
    extra: dict[str, Any]


@dataclass(frozen=True)
class MatchedLabels:
    """A table of labels and a folder of images, brought together."""

    rows: list[MatchedRow]
    columns: Sequence[tuple[str, pa.DataType]]
    """names and types of the columns of `MatchedRow.extra`"""
    left_out: dict[str, str]
    """name of an image or a row -> why it was left out"""
    changed: dict[str, int]
    """what was done -> to how many"""
    notes: tuple[str, ...]


def match_labels(
    folder: Path, files: Sequence[str], settings: LabelSettings, names: Mapping[str, str]
) -> MatchedLabels:
    """Bring a table of labels and the images of a folder together.

    A row may name its image by its path inside the folder, by its file's name, or by that without ending; by an
    absolute path of another machine, whose end is the path inside the folder or whose file's name is there once; and
    with the ending of another format, as after a conversion. Names
    that Unicode writes in two ways (macOS: NFD) are equal. Where several columns may name the image, that which finds
    most images is taken.

    Parameters
    ----------
    folder
        where the images are
    files
        their paths inside it, with forward slashes
    settings
        the table, and what is done with images without a row and rows without an image
    names
        what to call the object of a file where the table has no ids

    Raises
    ------
    DataError
        The table can't be used; a row names no image, or one outside the folder, or one of several; an image has two
        rows, or none.
    """
    table, index = read_labels(settings), _index(files)
    where = _Places(folder, index, settings.path)
    matched, given = _best([(each, [where.find(text) for text in each]) for _, each in table.files])
    left_out = _missing(where, given, matched, settings)
    times = Counter(name for name in matched if name)
    if twice := [name for name in times if times[name] > 1]:
        raise DataError(f"{settings.path} has more than one row for {len(twice)} images: {some_names(twice)}")
    without = [name for name in files if name not in times]
    if without and not settings.labelled_only:
        raise DataError(
            f"{len(without)} images in {folder} have no row in {settings.path}: {some_names(without)}; {OPTIONS}"
        )
    left_out |= dict.fromkeys(without, f"it has no row in {settings.path.name}")
    rows = []
    for row, name in enumerate(matched):
        if name:
            extra = {column: values[row] for (column, _), values in zip(table.columns, table.values, strict=True)}
            object_id = names[name] if table.ids is None else table.ids[row]
            rows.append(MatchedRow(object_id, table.labels[row], name, extra))
    changed = {OTHER_ENDING: number} if (number := sum(map(_differ, given, matched))) else {}
    if not rows:
        raise DataError(f"no row of {settings.path} names an image in {folder}")
    return MatchedLabels(rows, table.columns, left_out, table.changed | changed, table.notes)


def _differ(text: str, name: str) -> bool:
    """Whether an image has another ending than its row says."""
    return bool(name) and text.lower().endswith(ENDINGS) and Path(text).suffix.lower() != Path(name).suffix.lower()


class _Places:
    """The images of a folder, found by what a table calls them."""

    def __init__(self, folder: Path, index: Index, table: Path) -> None:
        self.folder, self._index, self._table = folder, index, table
        self._root, self._real = folder.absolute(), folder.resolve()
        self._part = part_of(self._root.name)

    def find(self, text: str) -> str | DataError:
        """The one image that a text names, or nothing; or why it can't be told."""
        inside = posixpath.normpath(text.replace("\\", "/")) if text else ""
        inside = unicodedata.normalize("NFC", inside)
        absolute = posixpath.isabs(inside) or DRIVE.match(inside) is not None
        if posixpath.isabs(inside):
            below = os.path.relpath(inside, self._root).replace(os.sep, "/")
            inside = inside if below.startswith("../") else unicodedata.normalize("NFC", below)
        elif f"{inside}/".startswith("../"):
            below = os.path.relpath(self._table.absolute().parent / inside, self._root).replace(os.sep, "/")
            if below.startswith("../"):
                return self._outside(text)
            inside = unicodedata.normalize("NFC", below)
        found = self._index.get(inside, [])
        name = next((each for each in found if unicodedata.normalize("NFC", each) == inside), None)
        if name is None and not found:
            found = self._by_end(inside, absolute)
        if name is None and len(found) > 1:
            return DataError(
                f"{self._table}: {text!r} may be any of {some_names(found)}; give the path inside {self.folder}"
            )
        if name is None and not found and inside.lower().endswith(ENDINGS):  # a.png, and the folder has a.jpg
            return self.find(plain_stem(text))
        name = name or next(iter(found), "")
        return name if not name or self._is_inside(name) else self._outside(text)

    def _by_end(self, inside: str, absolute: bool) -> Sequence[str]:
        """Images whose path is the end of a longer one; for a path of another machine, those of its file's name."""
        parts = inside.split("/")
        for start in range(1, len(parts)):
            if (told := part_of(parts[start - 1])) and told != (self._part or told):
                return []  # test/1.png is no image of a folder called train
            end = "/".join(parts[start:])
            if found := [name for name in self._index.get(end, []) if unicodedata.normalize("NFC", name) == end]:
                return found
        return self._index.get(parts[-1], []) if absolute else []

    def _is_inside(self, name: str) -> bool:
        return (self.folder / name).resolve().is_relative_to(self._real)

    def _outside(self, text: str) -> DataError:
        return DataError(f"{self._table}: {text!r} leads out of the folder {self.folder}")


def _index(files: Sequence[str]) -> Index:
    """The images that a path, a file's name, or one of them without ending may mean."""
    index = defaultdict(list)
    for name in files:
        plain = unicodedata.normalize("NFC", name)
        stem, base = plain_stem(plain), posixpath.basename(plain)
        for key in {plain, stem, base, plain_stem(base)}:
            index[key].append(name)
    return index


def _best(candidates: Sequence[tuple[Sequence[str], Sequence[str | DataError]]]) -> tuple[list[str], Sequence[str]]:
    """The names of the images by the column that finds most, and that column; raises what went wrong in it."""
    count: Callable[[Sequence[str | DataError]], int] = lambda found: sum(bool(each) for each in found)  # noqa: E731
    given, found = max(candidates, key=lambda each: count(each[1]))
    if wrong := next((each for each in found if isinstance(each, DataError)), None):
        raise wrong
    return [str(each) for each in found], given


def _missing(where: _Places, given: Sequence[str], matched: Sequence[str], settings: LabelSettings) -> dict[str, str]:
    """The rows whose image is not there, each with the reason; they are refused unless they may be left out."""
    missing = [each for each, name in zip(given, matched, strict=True) if not name]
    if not missing:
        return {}
    if not settings.skip_missing:
        rounded = RoundedIds()
        rounded.add([posixpath.basename(each).partition(".")[0] for each in missing])
        why = (
            "; all of them are rounded as decimal numbers are (float64), so their last digits are lost"
            if rounded.found
            else ""
        )
        raise DataError(
            f"{settings.path} labels {len(missing)} images that are not in {where.folder}: {some_names(missing)}{why}; "
            f"{OPTIONS}"
        )
    return {each or "(a row that names no image)": f"its image is not in {where.folder}" for each in missing}
