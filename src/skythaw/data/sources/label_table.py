"""Read a table of labels that goes with image files: columns are found by their usual names, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.class_names import UNLABELLED, is_no_label
from skythaw.data.sources.column_names import (
    DEC_NAMES,
    FILE_NAMES,
    FRAME,
    ID_NAMES,
    LABEL_NAMES,
    RA_NAMES,
    any_of,
    chosen_columns,
    column_of,
    columns_of,
    given_columns,
    label_names,
)
from skythaw.data.sources.dropped_columns import say_dropped
from skythaw.data.sources.rounded_ids import EXACT, refuse_ruined
from skythaw.data.sources.sky_positions import Axis, PositionCheck, are_plain, read_degrees, split_name
from skythaw.data.sources.table_sheet import WHOLE, Sheet, open_sheet
from skythaw.errors import DataError, SpecError

KINDS = ("file", "id", "label", "ra", "dec", *FRAME, "part")
"""what a user may name a column for"""
KEPT = ("file", "filename", "path", "image", "image_path")
"""names of columns that say where an image was: the file of cutouts has its own"""


DECIMAL = re.compile(rf"{WHOLE.pattern}\.0+")


@dataclass(frozen=True)
class LabelSettings:
    """A table of labels, and how it is read."""

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    """names of columns that are not found by their usual names; the keys are those of `KINDS`"""
    argmax: tuple[str, ...] = ()
    """columns (or patterns) of numbers; an object's class is the column with its largest"""
    labelled_only: bool = False
    """take only the images that have a row"""
    skip_missing: bool = False
    """leave out the rows whose image is not there"""


@dataclass(frozen=True)
class LabelTable:
    """The rows of a table of labels, in the order of the file."""

    ids: tuple[str, ...] | None
    """object ids, where there is a column of them"""
    files: tuple[tuple[str, tuple[str, ...]], ...]
    """columns that may name the image (paths, file names or ids), the likeliest first, and their values"""
    labels: tuple[str | None, ...]
    columns: tuple[tuple[str, pa.DataType], ...]
    """names and types of the other columns"""
    values: tuple[tuple[Any, ...], ...]
    """for each of `columns`, its values"""
    changed: dict[str, int] = field(default_factory=dict)
    """what was done to the table, and to how many rows"""
    notes: tuple[str, ...] = ()
    """what the user should know of it, in whole sentences"""


def read_labels(settings: LabelSettings | Path) -> LabelTable:
    """Read a table with a header: CSV and the like, Excel, Parquet, FITS, VOTable or ECSV, as its content says.

    Ids stay text, other columns may become numbers. Positions become `ra` and `dec` in degrees.

    Raises
    ------
    DataError
        It can't be read, has no column for the image or the label, has ids that were rounded (1.24E+18), or a
        declination that is none.
    SpecError
        A column that the user names is not there.
    """
    settings = settings if isinstance(settings, LabelSettings) else LabelSettings(Path(settings))
    sheet = open_sheet(settings.path)
    found = _find(sheet, settings)
    if settings.argmax:
        labels, changed = _largest(sheet, chosen_columns(str(sheet.path), sheet.header, settings.argmax))
    else:
        labels = _labels(sheet.texts(found["label"]))
        changed = {UNLABELLED: labels.count(None)} if None in labels else {}
    files = _files(sheet, found)
    ids = None if "id" not in found else _ids(sheet, found["id"])
    others, checked = _others(sheet, found, files)
    return LabelTable(
        ids=ids,
        files=tuple((sheet.header[number], sheet.texts(number)) for number in files),
        labels=labels,
        columns=tuple((name, kind) for name, kind, _ in others),
        values=tuple(values for _, _, values in others),
        changed=changed | checked.changed,
        notes=tuple(note for note in (sheet.note, *checked.notes, *say_dropped(sheet.path, sheet.dropped)) if note),
    )


def _find(sheet: Sheet, settings: LabelSettings) -> dict[str, int]:
    """The column of each kind that has one, without those that may name the image."""
    called = {"id" if kind == "object_id" else kind: name for kind, name in settings.columns.items()}
    given = given_columns(str(sheet.path), sheet.header, called, KINDS)
    if settings.argmax and "label" in given:
        raise SpecError("--argmax makes the label, so --column label=NAME can't be given with it")
    plainly = [split_name(name)[0] for name in sheet.header]
    usual = {
        "id": ID_NAMES,
        "label": label_names([name.lower() for name in plainly]),
        "ra": RA_NAMES,
        "dec": DEC_NAMES,
        **{n: (n,) for n in FRAME},
    }
    numbers = {kind: column_of(plainly, names) for kind, names in usual.items()}
    found = {kind: number for kind, number in numbers.items() if number is not None} | given
    if settings.argmax:
        found.pop("label", None)
    if not ("ra" in found and "dec" in found):
        found = {kind: number for kind, number in found.items() if kind not in ("ra", "dec")}
    no_file = "file" not in found and not columns_of(sheet.header, (*FILE_NAMES, *ID_NAMES))
    if no_file or ("label" not in found and not settings.argmax):
        what, names = ("image", (*ID_NAMES[:4], *FILE_NAMES[:4])) if no_file else ("label", LABEL_NAMES[:6])
        kind = "file" if no_file else "label"
        raise DataError(
            f"{sheet.path} has no column for the {what}; it should be called {any_of(names)} or alike, or be named "
            f"with --column {kind}=NAME; the columns are {', '.join(sheet.header[:40])}"
        )
    return found


def _labels(texts: Sequence[str]) -> tuple[str | None, ...]:
    """Labels; none where a text says so, or is -1 among whole numbers, unless 1 is the only other one."""
    none = {text for text in texts if is_no_label(text)}
    given = set(texts) - none
    if given and all(DECIMAL.fullmatch(text) for text in given):  # whole numbers that a program wrote as 1.0
        return _labels([text if text in none else text.partition(".")[0] for text in texts])
    if all(WHOLE.fullmatch(text) for text in given) and given - {"-1"} != {"1"}:
        none.add("-1")
    return tuple(None if text in none else text for text in texts)


def _files(sheet: Sheet, found: Mapping[str, int]) -> list[int]:
    """The columns that may name the image, the likeliest first."""
    if "file" in found:
        return [found["file"]]
    first = columns_of(sheet.header, FILE_NAMES)
    ids = [*([found["id"]] if "id" in found else []), *columns_of(sheet.header, ID_NAMES)]
    taken = {number for kind, number in found.items() if kind != "id"}
    return [number for number in dict.fromkeys((*first, *ids)) if number not in taken]


def _ids(sheet: Sheet, number: int) -> tuple[str, ...]:
    """Ids as text; those that lost digits are refused."""
    values, name = sheet.columns[number], sheet.header[number]
    large = [value for value in values if isinstance(value, float) and abs(value) >= EXACT]
    if large:
        raise DataError(
            f"{sheet.path}: column {name!r} holds {large[0]:.0f} as a decimal number (float64), which loses digits; "
            "write it as whole numbers of 64 bits or as text"
        )
    ids = sheet.texts(number)
    refuse_ruined(sheet.path, name, ids)
    return ids


def _others(sheet: Sheet, found: Mapping[str, int], files: Sequence[int]) -> tuple[list[Any], PositionCheck]:
    """Name, type and values of the columns that are kept beside id, label and image."""
    check = PositionCheck("ra" not in found or are_plain(sheet.columns[found["ra"]], sheet.units[found["ra"]]))
    place = {"ra": _degrees(sheet, found, "ra"), "dec": _degrees(sheet, found, "dec")} if "ra" in found else {}
    if place:
        place["ra"] = check.wrap(place["ra"], place["dec"])
        _refuse_off_sky(sheet, found, place, check)
    kinds = {number: kind for kind, number in found.items() if kind not in ("id", "label", "file")}
    used = {found[kind] for kind in ("id", "label", "file") if kind in found} | {*files[:1]}
    used |= set(columns_of(sheet.header, KEPT))
    reserved = {*kinds.values(), "label", "object_id"}
    others = []
    for number, name in enumerate(sheet.header):
        if name and number not in used:
            kind = kinds.get(number, f"{name}_in_table" if name in reserved else name)
            values = (pa.float64(), tuple(place[kind])) if kind in place else sheet.typed(number)
            others.append((kind, *values))
    return [each for each in others if each[1] is not None], check


def _degrees(sheet: Sheet, found: Mapping[str, int], axis: Axis) -> list[float | None]:
    number = found[axis]
    try:
        return read_degrees(sheet.columns[number], axis, sheet.units[number])
    except ValueError as error:
        row, what = error.args
        raise DataError(
            f"{sheet.path}, row {row + 1}: column {sheet.header[number]!r} should hold degrees, not {what}"
        ) from None


def _refuse_off_sky(
    sheet: Sheet, found: Mapping[str, int], place: Mapping[str, list[float | None]], check: PositionCheck
) -> None:
    limits: tuple[tuple[Axis, float, float], ...] = (("ra", 0, 360), ("dec", -90, 90))
    for axis, low, high in limits:
        for row, value in enumerate(place[axis]):
            if value is not None and not low <= value <= high:
                advice = "are ra and dec swapped?" if check.swapped else "leave the cell empty where there is none"
                raise DataError(
                    f"{sheet.path}, row {row + 1}: {sheet.header[found[axis]]} = {value:g} is outside {low:g} to "
                    f"{high:g} degrees; {advice}"
                )


def _largest(sheet: Sheet, numbers: Sequence[int]) -> tuple[tuple[str | None, ...], dict[str, int]]:
    """The name of the column with the largest number of each row; None where two are equal or all are missing."""
    names, columns = [sheet.header[number] for number in numbers], []
    for number in numbers:
        kind, values = sheet.typed(number)
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or all(v is None for v in values)):
            raise DataError(f"--argmax: column {sheet.header[number]!r} of {sheet.path} should hold numbers")
        columns.append(values)
    labels: list[str | None] = []
    ties = missing = 0
    for row in zip(*columns, strict=True):
        given = [value for value in row if value is not None]
        best = [name for name, value in zip(names, row, strict=True) if given and value == max(given)]
        labels.append(best[0] if len(best) == 1 else None)
        ties, missing = ties + (len(best) > 1), missing + (not given)
    changed = {"row whose largest values are equal, kept as unlabelled": ties}
    changed["row without any value for --argmax, kept as unlabelled"] = missing
    return tuple(labels), {what: count for what, count in changed.items() if count}
