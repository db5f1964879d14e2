"""Cutouts from Parquet files of images, such as those of Hugging Face: written anew, changed as was asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from skythaw.data.cutouts import Cutouts, read_cutouts, say_unlabelled, write_cutouts
from skythaw.data.decode import BrokenImageError, open_image, require_checksum
from skythaw.data.image_form import Form, one_form
from skythaw.data.one_shape import common_side
from skythaw.data.sources.folder import AS_NAMED, AS_THEY_ARE, ImportResult, Progress
from skythaw.data.sources.read_images import ImageOptions, ImageReader, refuse_broken, scaled
from skythaw.data.sources.set_choices import Copies, SetChoices, named_labels
from skythaw.errors import DataError

OWN = ("object_id", "label", "sha256")
Item = tuple[str, bytes, str, str | None, dict[str, Any]]
"""of an object: name, bytes and checksum of its image, label, and its other columns"""


def import_cutouts(  # noqa: PLR0913 (those of every source)
    path: Path,
    out: Path,
    labels: Any = None,
    *,
    skip_broken: bool = False,
    images: ImageOptions = AS_THEY_ARE,
    choices: SetChoices = AS_NAMED,
    progress: Progress | None = None,
) -> ImportResult:
    """Write the images of a Parquet file, or of a folder of them, as one file of cutouts; all columns are kept.

    Raises
    ------
    DataError
        It can't be read; `labels`, `band_from` or a level of folders is given; an image is broken or has several
        labels; images are of several kinds, or too different in size for a common square.
    OutputError
        `out` can't be written.
    """
    if labels is not None or images.band_from is not None or choices.level is not None:
        raise DataError(f"{path} is a file of cutouts; --labels, --band-from and --level are for files of images")
    cutouts = read_cutouts(path, need_labels=False)
    reader = ImageReader(Path(path), images, side=images.size)
    if reader.side is None:
        reader.side = common_side([each for each in _sized(cutouts, reader) if each])
    named = named_labels(cutouts.labels.tolist(), path, choices)
    conflicts = _conflicts(cutouts, named.labels, reader) if choices.drop_conflicts else {}
    broken: dict[str, str] = {}
    kept = [name for name in cutouts.table.column_names if name not in OWN]
    columns = [(name, cutouts.table[name].type) for name in kept]
    rows = _rows(_items(cutouts, named.labels, conflicts, progress), reader, broken, skip_broken)
    done = reader.options.recipe | ({} if reader.side is None else {"size": reader.side})
    recipe = {"source": "cutouts", "file": Path(path).name} | ({"images": done} if done else {}) | choices.recipe
    count = write_cutouts(out, rows, columns, recipe)
    changed = say_unlabelled(cutouts) | named.changed | reader.changed
    return ImportResult(count, broken, conflicts | broken, changed, named.said)


def _sized(cutouts: Cutouts, reader: ImageReader) -> Iterator[tuple[str, tuple[int, int]] | None]:
    """Name and size of each image; None of those that can't be read, which are named when they are written."""
    for name, data, _ in cutouts.images():
        try:
            yield name, open_image(data, name, reader.choice).form.size
        except BrokenImageError:
            yield None


def _conflicts(cutouts: Cutouts, labels: tuple[str | None, ...], reader: ImageReader) -> dict[str, str]:
    """The objects whose image has other labels as well, and the reason to leave them out."""
    copies = Copies()
    for (name, data, _), label in zip(cutouts.images(), labels, strict=True):
        try:
            copies.add(name, label, reader.stored(data, name).pixels)
        except BrokenImageError:
            continue
    reader.changed.clear()  # every image is read once more
    return copies.left_out()


def _items(
    cutouts: Cutouts, labels: tuple[str | None, ...], without: dict[str, str], progress: Progress | None
) -> Iterator[Item]:
    """What is to be written of each object."""
    kept = cutouts.table.drop_columns([name for name in OWN if name in cutouts.table.column_names])
    extras: Iterable[dict[str, Any]] = repeat({}, len(cutouts))
    if kept.num_columns:
        extras = (row for batch in kept.to_batches(1000) for row in batch.to_pylist())
    images = cutouts.images() if progress is None else progress(cutouts.images(), len(cutouts))
    for (name, data, sha256), label, extra in zip(images, labels, extras, strict=True):
        if name not in without:
            yield name, data, sha256, label, extra


def _rows(
    items: Iterator[Item], reader: ImageReader, broken: dict[str, str], skip_broken: bool
) -> Iterator[dict[str, Any]]:
    """The rows to write; fills `broken`. Images of several forms or labels are refused when all have been seen."""
    forms, copies = Counter[Form](), Copies()
    errors: list[tuple[object, str, str]] = []
    for name, data, sha256, label, extra in items:
        try:
            require_checksum(data, sha256, name)
            image = reader.stored(data, name)
        except BrokenImageError as error:
            broken[name] = error.reason
            errors.append((reader.folder, error.name, error.reason))
            continue
        copies.add(name, label, image.pixels)
        forms[image.form] += 1
        yield extra | scaled(extra, image.scale) | {"object_id": name, "label": label, "image": image.data}
    if not skip_broken:
        refuse_broken(errors, reader.folder)
    if not forms:
        name, reason = next(iter(broken.items()), ("", "all are left out"))
        raise DataError(f"none of the images can be used; the first is {name!r}: {reason}")
    one_form(forms)
    copies.refuse()
