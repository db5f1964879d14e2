"""Which columns of a user's table stand beside the images: all numbers that do not give the class away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.cutouts import is_number
from skythaw.data.sources.column_names import DEC_NAMES, RA_NAMES
from skythaw.data.sources.dropped_columns import dropped_of
from skythaw.data.sources.user_tables import IDS
from skythaw.errors import DataError, SkythawError
from skythaw.spec import Study
from skythaw.study.number_check import check_numbers
from skythaw.study.study_data import open_study_data
from skythaw.tables.catalogue_files import read_catalogue
from skythaw.tables.columns import texts_are_numbers

BLAMED = re.compile(r"column '([^']+)'")
POSITIONS = {name.lower() for name in (*RA_NAMES, *DEC_NAMES)}


def table_columns(base: dict[str, Any], table: Path, cache: Path) -> tuple[list[str], list[str]]:
    """The columns that can be used, and sentences on those that can't.

    Parameters
    ----------
    base
        content of a study file, without columns
    table
        the catalogue
    cache
        the cache folder

    Raises
    ------
    DataError
        It can't be read, does not belong to the images, or has no column that can be used.
    """
    columns, left_out = _sorted_out(read_catalogue(table))
    while columns:
        data = {**base["data"], "table": str(table), "columns": columns}
        study = Study.parse(
            {**base, "data": data, "grid": {"backbone": ["efficientnet_lite0"], "inputs": ["table", "images"]}}
        )
        try:
            check_numbers(open_study_data(study, cache), cache)
        except SkythawError as error:
            blamed = [name for name in BLAMED.findall(str(error)) if name in columns]
            if not blamed:
                raise
            columns.remove(blamed[0])
            left_out.setdefault(_why(str(error), blamed[0]), []).append(blamed[0])
        else:
            return columns, _sentences(left_out, table)
    said = _sentences(left_out, table)
    raise DataError(f"{table} has no column of numbers that can be used" + (f" ({said[0]})" if said else ""))


def _sorted_out(catalogue: pa.Table) -> tuple[list[str], dict[str, list[str]]]:
    """The columns that hold numbers, and by reason those that do not; of neither are positions and texts of ids."""
    columns: list[str] = []
    left_out: dict[str, list[str]] = {}
    for field in catalogue.schema:
        name, is_text = field.name.lower(), pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        if name in POSITIONS or (is_text and name in IDS):
            continue
        if is_number(field.type) or (is_text and texts_are_numbers(catalogue[field.name])):
            columns.append(field.name)
        else:
            left_out.setdefault("it holds text" if is_text else f"it holds {field.type}", []).append(field.name)
    for name, kind in dropped_of(catalogue.schema).items():
        left_out.setdefault(f"it holds {kind}", []).append(name)
    return columns, left_out


def _sentences(left_out: dict[str, list[str]], table: Path) -> list[str]:
    """One for each reason.

    Examples
    --------
    >>> _sentences({"it says where": ["run"], "it is 1": ["a", "b"]}, Path("t.csv"))
    ["the column 'run' of t.csv is not used: it says where", "the columns 'a', 'b' of t.csv are not used: each is 1"]
    """
    return [
        f"the column {names[0]!r} of {table.name} is not used: {why}"
        if len(names) == 1
        else f"the columns {', '.join(map(repr, names))} of {table.name} are not used: each {why.removeprefix('it ')}"
        for why, names in left_out.items()
    ]


def _why(text: str, name: str) -> str:
    """The reason in an error, without what would mend it and without the others that it is of."""
    why = text.partition(f"'{name}'")[2].partition(";")[0].strip().removeprefix("is a leak: ")
    why = re.sub(r" \([^()]* too\)$|, and tells nothing: leave it out$|: leave .* out$", "", why)
    return f"it {why}" if why.startswith(("is ", "should ", "looks ", "holds ")) else why
