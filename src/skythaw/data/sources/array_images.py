"""Cutouts from arrays of pixels: 8 bits in colour become PNG files, all other numbers FITS files of float32."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skythaw.data.class_names import UNLABELLED
from skythaw.data.cutouts import write_cutouts
from skythaw.data.decode import BrokenImageError, decode, probe
from skythaw.data.fits import encode_fits
from skythaw.data.image_form import LARGEST, MOST_BANDS, Form, one_form
from skythaw.data.sources.array_labels import label_arrays, label_texts, short_name, text_of
from skythaw.data.sources.column_names import DEC_NAMES, FRAME, ID_NAMES, RA_NAMES
from skythaw.data.sources.folder import ImportResult, Progress
from skythaw.data.sources.read_images import refuse_broken
from skythaw.data.sources.rounded_ids import EXACT, refuse_ruined
from skythaw.data.sources.set_choices import Copies, SetChoices, named_labels
from skythaw.data.sources.sky_positions import PositionCheck
from skythaw.errors import DataError

FEW = 10
"""an axis of at most so many is the one of the bands"""


@dataclass(frozen=True)
class PixelStack:
    """Many images as arrays, and what is known of each."""

    path: Path
    """the file that they come from"""
    count: int
    images: Iterable[np.ndarray]
    """one after another: [y, x], [y, x, band] or [band, y, x]"""
    columns: dict[str, Sequence[Any]] = field(default_factory=dict)
    """by the names in the file, a value for each image; labels, ids and positions are found by their usual names"""
    class_names: Sequence[Any] | None = None
    """of labels that are numbers"""
    bands: Sequence[str] | None = None
    bottom_up: bool = False
    """whether the first row of an image is its lowest one, as in FITS"""
    unread: Sequence[str] = ()
    """other arrays of the file, which are not read"""
    notes: Sequence[str] = ()
    """what the user should know of them, in whole sentences"""


def import_stack(
    stack: PixelStack,
    out: Path,
    *,
    skip_broken: bool = False,
    choices: SetChoices = SetChoices(),  # noqa: B008 - frozen
    progress: Progress | None = None,
) -> ImportResult:
    """Write arrays of pixels as a file of cutouts; of `choices`, the names of classes are merged.

    Raises
    ------
    DataError
        A column has another length; ids were rounded; a label is a number without a name; an image is none, has several
        labels, or is broken and not to be skipped; a class name would do harm.
    OutputError
        `out` can't be written.
    """
    for name, values in stack.columns.items():
        if len(values) != stack.count:
            raise DataError(f"{stack.path}: {name!r} has {len(values)} values for {stack.count} images")
    ids, found, others, notes = _sorted(stack)
    named = named_labels(found or [None] * stack.count, stack.path, choices)
    copies = Copies()
    broken: dict[str, str] = {}
    names = list(others)
    arrays = {name: _array(stack.path, name, values) for name, values in others.items()}
    cells = {name: array.to_pylist() for name, array in arrays.items()}

    def rows() -> Iterator[dict[str, Any]]:
        images = stack.images if progress is None else progress(stack.images, stack.count)
        forms, errors = Counter[Form](), list[tuple[object, str, str]]()
        for row, pixels in enumerate(images):
            name = f"{stack.path.stem}-{row:06d}" if ids is None else ids[row]
            try:
                data = encode(np.asarray(pixels), stack.bands, stack.bottom_up, name)
                copies.add(name, named.labels[row], decode(data, name))
                forms[probe(data, name)] += 1
            except BrokenImageError as error:
                broken[name] = error.reason
                errors.append((stack.path, error.name, error.reason))
                continue
            extra = {each: cells[each][row] for each in names}
            yield extra | {"object_id": name, "label": named.labels[row], "image": data}
        if not skip_broken:
            refuse_broken(errors, stack.path, arrays=True)
        if forms:
            one_form(forms)
        copies.refuse()

    columns = [(name, arrays[name].type) for name in names]
    count = write_cutouts(out, rows(), columns, {"source": "arrays", "file": stack.path.name} | choices.recipe)
    changed = {UNLABELLED: found.count(None)} if found and None in found else {}
    left_out = broken | dict.fromkeys(stack.unread, "an array that is neither the images nor a value for each of them")
    told = (*stack.notes, *notes, *named.said, *([] if choices.unlabelled else _no_label(stack, found)))
    return ImportResult(count, broken, left_out, changed | named.changed, told)


def encode(pixels: np.ndarray, bands: Sequence[str] | None, bottom_up: bool, name: str) -> bytes:
    """One image as the bytes of a PNG or FITS file.

    Raises
    ------
    BrokenImageError
        The array is no image of numbers, or it can't be told which of its axes is the one of the bands.
    """
    if pixels.dtype.kind not in "buif" or pixels.ndim not in (2, 3) or not pixels.size:
        raise BrokenImageError(name, f"an array of {pixels.dtype} of shape {pixels.shape} is no image")
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    elif pixels.shape[0] <= FEW < pixels.shape[2]:
        pixels = np.moveaxis(pixels, 0, -1)
    elif not pixels.shape[2] <= FEW < pixels.shape[0]:
        raise BrokenImageError(name, f"it can't be told which axis of the shape {pixels.shape} is the one of the bands")
    height, width, count = pixels.shape
    if height * width > LARGEST or count > MOST_BANDS:
        raise BrokenImageError(name, f"{width} x {height} pixels in {count} bands are too many for a cutout")
    pixels = pixels[::-1] if bottom_up else pixels
    if pixels.dtype == np.uint8 and count in (1, 3):
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if count == 1 else pixels)).save(file, "PNG")
        return file.getvalue()
    named = bands if bands is not None and len(set(bands)) == count else [str(band) for band in range(count)]
    with np.errstate(over="ignore"):
        return encode_fits(pixels.astype(np.float32), named)


def _sorted(
    stack: PixelStack,
) -> tuple[list[str] | None, list[str | None] | None, dict[str, Sequence[Any]], list[str]]:
    """Ids and labels of the images; the other columns under their usual names; what is said of the positions."""
    lower = {short_name(name): name for name in stack.columns}

    def found(names: Sequence[str]) -> str | None:
        return next((lower[name] for name in names if name in lower), None)

    label = next(iter(label_arrays(stack.columns)), None)
    own_id, ra, dec = (found(names) for names in (ID_NAMES, RA_NAMES, DEC_NAMES))
    try:
        labels = None if label is None else label_texts(stack.columns[label], stack.class_names)
    except ValueError as error:
        raise DataError(f"{stack.path}: {error}") from None
    ids = None if own_id is None else _ids(stack, own_id)
    others: dict[str, Sequence[Any]] = {}
    check = PositionCheck()
    for name, values in stack.columns.items():
        if name in (label, own_id):
            continue
        short = name.replace("/", ".")
        if ra and dec and name == ra:
            others["ra"] = check.wrap([_number(v) for v in values], [_number(v) for v in stack.columns[dec]])
        elif ra and dec and name == dec:
            others["dec"] = [_number(value) for value in values]
        else:
            others[short.lower() if short.lower() in FRAME else short] = values
    return ids, labels, others, check.notes


def _no_label(stack: PixelStack, labels: Sequence[str | None] | None) -> list[str]:
    """A sentence on a file in which no image has a label."""
    if labels is not None and any(label is not None for label in labels):
        return []
    kept, unread = (", ".join(names[:FEW]) or "none" for names in (list(stack.columns), list(stack.unread)))
    why = "none of its arrays for each image is called label, labels, class or alike"
    if labels is not None:
        why = f"its {label_arrays(stack.columns)[0]} are empty or say that there is none"
    return [
        f"no image of {stack.path.name} has a label: {why}; kept as columns: {kept}; not read: {unread}; to name the "
        "classes, save them under the name labels, one for each image; if there are none: --unlabelled"
    ]


def _ids(stack: PixelStack, column: str) -> list[str]:
    values = stack.columns[column]
    if large := [value for value in values if isinstance(value, float) and abs(value) >= EXACT]:
        raise DataError(
            f"{stack.path}: {column!r} holds {large[0]:.0f} as a decimal number (float64), which loses digits; write "
            "it as whole numbers of 64 bits or as text"
        )
    ids = [text_of(value) for value in values]
    refuse_ruined(stack.path, column, ids)
    return ids


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _array(path: Path, name: str, values: Sequence[Any]) -> pa.Array:
    """A column of plain values; text where they are bytes."""
    plain = [text_of(value) if isinstance(value, bytes) else value for value in values]
    plain = [None if isinstance(value, float) and math.isnan(value) else value for value in plain]
    try:
        return pa.array(plain)
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"{path}: the values of {name!r} can't be kept: {error}") from None
