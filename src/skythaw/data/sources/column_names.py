"""The usual names of columns, in upper or lower case, and what a user may call them instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from skythaw.errors import DataError, SpecError, nearest

ID_NAMES = (
    *("object_id", "objid", "id", "name", "iauname", "iau_name", "id_str", "dr7objid", "dr8objid", "galaxyid"),
    *("galaxy_id", "image_id", "source_id", "targetid", "target_id", "objname", "specobjid"),
)
FILE_NAMES = (
    *("file", "filename", "path", "image", "image_path", "file_name", "file_loc", "filepath", "file_path"),
    *("image_file", "image_name", "image_filename", "imagename", "img", "img_path", "img_name", "asset_id"),
)
LABEL_NAMES = (
    *("label", "class", "labels", "class_name", "classname", "target", "category", "type", "y"),
    *("fine_label", "classification", "ans"),
)
CATALOGUE_LABELS = ("label", "class", "labels", "class_name")
"""of a catalogue of positions, in which `type` and `y` may be anything"""
RA_NAMES = (
    *("ra", "photora", "ra_deg", "raj2000", "_raj2000", "ra_icrs", "alpha", "alpha_j2000", "alphawin_j2000"),
    *("ra_j2000", "ra2000", "radeg", "_ra", "right_ascension", "rightascension", "ra_hms", "ra_hours", "target_ra"),
)
DEC_NAMES = (
    *("dec", "photodec", "dec_deg", "decdeg", "de", "dej2000", "_dej2000", "de_icrs", "delta", "delta_j2000"),
    *("deltawin_j2000", "dec_j2000", "dec2000", "decj2000", "_decj2000", "dedeg", "_de", "_dec", "declination"),
    *("decl", "dec_dms", "target_dec"),
)
FRAME = ("run", "camcol", "field")


def column_of(header: Sequence[str], names: Sequence[str]) -> int | None:
    """The number of the column that has one of these names, in upper or lower case; the earlier name is taken first."""
    return next(iter(columns_of(header, names)), None)


def columns_of(header: Sequence[str], names: Sequence[str]) -> list[int]:
    """The numbers of all columns that have one of these names (a blank counts as _), in the order of the names."""
    lower = [name.strip().lower().replace(" ", "_") for name in header]
    return [lower.index(name) for name in names if name in lower]


def label_names(there: Collection[str], usual: Sequence[str] = LABEL_NAMES) -> list[str]:
    """The usual names of labels that may be meant among these (lower case): not `y` beside `x`, its other half."""
    return [name for name in usual if not (name == "y" and "x" in there)]


def given_columns(where: str, header: Sequence[str], called: Mapping[str, str], kinds: Sequence[str]) -> dict[str, int]:
    """The numbers of the columns that a user names with ``--column KIND=NAME``.

    Raises
    ------
    DataError
        There is no such kind or no such column; the message names the nearest one.
    """
    if odd := sorted(set(called) - set(kinds)):
        raise DataError(f"a column can't be called {odd[0]!r}; {nearest(odd[0], kinds)}")
    if lost := [column for column in called.values() if column not in header]:
        raise DataError(f"{where} has no column {lost[0]!r}; {nearest(lost[0], header)}")
    return {kind: header.index(column) for kind, column in called.items()}


def chosen_columns(where: str, header: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The numbers of the columns with these names, or of these patterns, such as ``smooth*``.

    Raises
    ------
    SpecError
        A name or a pattern fits no column, or all of them together fit only one.
    """
    found: list[int] = []
    for each in wanted:
        fits = [number for number, name in enumerate(header) if name == each or fnmatchcase(name, each)]
        if not fits:
            raise SpecError(f"--argmax: {where} has no column {each!r}; {nearest(each, header)}")
        found += [number for number in fits if number not in found]
    if len(found) < 2:
        raise SpecError(f"--argmax needs two or more columns of {where}, one for each class; {wanted[0]!r} is only one")
    return found


def some_names(names: Sequence[str]) -> str:
    """The first three of many names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def any_of(names: Sequence[str]) -> str:
    """In words: ``a, b or c``."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
