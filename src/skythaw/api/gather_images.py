"""The images that a user gives, as one file of labelled cutouts; whether they are enough, and the same as before."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skythaw import registry
from skythaw.data.cutouts import Cutouts, read_cutouts, require_classes
from skythaw.data.parquet import find_files
from skythaw.data.sources.column_names import some_names
from skythaw.data.sources.folder import ImportResult
from skythaw.data.sources.image_files import NOT_IMAGE, PLAIN
from skythaw.data.sources.label_table import LabelSettings
from skythaw.data.sources.source_formats import TABLE_ENDINGS, source_of
from skythaw.errors import DataError, OutputError, SkythawError
from skythaw.machine.walk_folders import real_folder, walk

FEWEST_OF_CLASS = 10
"""objects of a class: fewer can't be divided into three parts that all have some"""
FEWEST = 60
"""objects in all"""
Progress = Callable[[Iterable[Any], int], Iterable[Any]]
IMPORT = "skythaw data import"
OF_IMPORT = re.compile(
    "--(?:argmax|band-from|column|drop-conflicts|ext|labelled-only|level|max-nan|merge|size|skip-missing|unlabelled)"
)
"""options that `tune`, `study init` and `evaluate` lack, and that a message about an import may advise"""


@dataclass(frozen=True)
class GatheredImages:
    """Labelled cutouts, and what was said when they were read."""

    cutouts: Cutouts
    path: Path
    """of the file or folder of Parquet that they are in"""
    notes: tuple[str, ...] = ()


def gather_images(
    images: Path, labels: Path | None, file: Path, *, skip_broken: bool = False, progress: Progress | None = None
) -> GatheredImages:
    """Read images as they come: cutouts are used where they are, all else is imported into `file`, once.

    Parameters
    ----------
    images
        a folder with a folder for each class, an archive, arrays, or Parquet: whatever ``skythaw data import`` reads;
        or a table that names the images beside it
    labels
        a table of labels, where the images do not say theirs
    file
        where imported cutouts are kept; one that is there is used
    skip_broken
        leave out images that can't be read, instead of refusing them
    progress
        called with the images and their number

    Raises
    ------
    DataError
        Nothing there can be read, or the labels do not fit.
    """
    notes: tuple[str, ...] = ()
    if not file.exists():
        if labels is None and images.is_file() and images.name.lower().endswith(TABLE_ENDINGS):
            images, labels = images.parent, images  # a table that names the images beside it
        if (cutouts := _as_cutouts(images)) is not None:
            if labels is not None:
                raise DataError(
                    f"{images} is Parquet, whose labels are in its column 'label': leave out --labels {labels}"
                )
            return GatheredImages(cutouts, images)
        try:
            result = _import(images, labels, file, skip_broken, progress)
        except DataError as error:
            if (advised := _advice(str(error))) != str(error):
                raise DataError(advised) from None
            raise
        changed = [f"{number} images: {what}" for what, number in result.changed.items()]
        notes = (*map(_advice, result.notes), *changed, *_left_out(result, _inside(images, labels)))
    with as_given(file, labels or images):
        return GatheredImages(read_cutouts(file), file, notes)


@contextmanager
def as_given(file: Path, given: Path) -> Iterator[None]:
    """Let errors of images name what the user gave, not the file made of it, unless that can't be written."""
    try:
        yield
    except DataError as error:
        error.args = (str(error).replace(str(file.absolute()), str(given)).replace(str(file), str(given)),)
        raise


def _advice(text: str) -> str:
    """What was said, and of which command the options are that it advises."""
    names = list(dict.fromkeys(OF_IMPORT.findall(text)))
    if not names or IMPORT in text:
        return text
    are = f"{' and '.join(names)} {'are options' if len(names) > 1 else 'is an option'}"
    return f"{text}; {are} of {IMPORT}, which writes a Parquet file that can be given here"


def _as_cutouts(images: Path) -> Cutouts | None:
    """Cutouts in Parquet, as they are; None where it is something to import."""
    return read_cutouts(images) if images.exists() and source_of(images) == "cutouts" else None


def _import(
    images: Path, labels: Path | None, file: Path, skip_broken: bool, progress: Progress | None
) -> ImportResult:
    settings = None if labels is None else LabelSettings(labels, labelled_only=True)
    result: ImportResult = registry.get("source", source_of(images))(
        images, file, settings, skip_broken=skip_broken, progress=progress
    )
    return result


def _inside(images: Path, labels: Path | None) -> str:
    """What the table of labels is called among the files of the images, if it lies there."""
    whole, folder = (labels or images).resolve(), images.resolve()
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else ""


def _left_out(result: ImportResult, labels: str) -> Iterator[str]:
    """What is not read: each broken image, and the rest in a sentence for each reason."""
    yield from (f"left out {name}: {why}" for name, why in result.broken.items())
    names, broken = defaultdict[str, list[str]](list), set(result.broken.values())
    for name, why in result.left_out.items():
        if why not in broken and name != labels:
            names[NOT_IMAGE if why.startswith(NOT_IMAGE) else why].append(name)
    yield from (f"left out {len(some)} ({some_names(some)}): {why}" for why, some in names.items())


def require_enough(cutouts: Cutouts, images: Path) -> None:
    """Raise `DataError` where there is one class, or too few objects to train, to choose and to test."""
    require_classes(cutouts, images)
    few = {name: count for name, count in cutouts.counts.items() if count < FEWEST_OF_CLASS}
    if few:
        named = ", ".join(f"{name!r} has {count}" for name, count in few.items())
        raise DataError(
            f"{images}: {named} images; to train, to choose and to test takes at least {FEWEST_OF_CLASS} of each "
            "class: add some, or leave the class out"
        )
    labelled = sum(cutouts.counts.values())
    if labelled < FEWEST:
        raise DataError(
            f"{images}: {labelled} labelled images are too few to train, to choose and to test: give at least {FEWEST}"
        )


def require_same(out: Path, kept: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    """Raise `OutputError` unless a folder is of this request, and its files are as they were.

    Parameters
    ----------
    out
        the folder
    kept
        its ``request``, and ``given`` (see `file_marks`), which folders of older versions lack
    request
        the names of files and options that are asked for now
    """
    for name, value in request.items():
        if (before := kept["request"].get(name)) != value:
            raise OutputError(
                f"{out} is of another run, {_with(name, before)} and not {_with(name, value)}: choose another --out"
            )
    given = kept.get("given") or {}
    now = file_marks(request, out) if given else {}
    for name, mark in given.items():
        if now.get(name) != mark:
            raise OutputError(
                f"{request[name]} ({name}) has changed since {out} was begun, which keeps to what was there then: "
                "choose another --out"
            )


def file_marks(request: Mapping[str, Any], out: Path) -> dict[str, str]:
    """For images, labels and table, as far as they are given: a checksum of names, sizes and times of change.

    What lies in `out` does not count, nor what in a folder of images is obviously none.
    """
    given = {name: Path(request[name]) for name in ("images", "labels", "table") if request.get(name)}
    return {name: _mark(path, out) for name, path in given.items()}


def _mark(path: Path, out: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(_files_of(path, out)):
        try:
            found = file.stat()
            said = f"{file}\0{found.st_size}\0{found.st_mtime_ns}\n"
        except OSError:
            said = f"{file}\0gone\n"
        digest.update(said.encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:16]


def _files_of(path: Path, out: Path) -> list[Path]:
    """A file itself (not what lies beside a table: figures are put there); of a folder, those that may be images."""
    if not os.path.isdir(path):  # noqa: PTH112 (False, not an error, where it may not be looked at)
        return [path]
    try:
        if source_of(path) == "cutouts":
            return list(find_files(path))
    except SkythawError:
        return []
    below = (Path(here) / name for here, names, _ in walk(str(path), {real_folder(str(out))}) for name in names)
    return [file for file in below if file.suffix.lower() not in PLAIN]


def _with(name: str, value: Any) -> str:
    """A part of a request in words."""
    words = name.replace("_", "-")
    if not value:
        return f"without {words}"
    if isinstance(value, Mapping):
        value = [f"{key}={each}" for key, each in value.items()]
    said = ", ".join(value) if isinstance(value, list) else value
    return f"with {words}" if value is True else f"with {words} {said}"
