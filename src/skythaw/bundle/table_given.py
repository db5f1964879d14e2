"""The numbers that a user gives beside images in Python: columns of any table that can be asked for them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from skythaw.bundle.numbers_wanted import NumbersWanted
from skythaw.errors import DataError

Table = Mapping[str, Any]
"""anything that gives a column for its name: a dictionary of arrays, or a table of pandas, astropy or Arrow"""


def columns_given(wants: NumbersWanted, table: Table, objects: int) -> Float[np.ndarray, "object given"]:
    """The numbers of a table that has one row for each object, in the order of the model.

    Raises
    ------
    DataError
        A column that is wanted is not there, has another number of rows, or holds what is no number.
    """
    if not wants.columns:
        raise DataError("this classifier measures its numbers from the image: leave out the table")
    if isinstance(table, str | Path):
        raise DataError(
            f"the table should be columns, one row for each image, not the file {table}: read it first, or give the "
            "file to skythaw.predict(..., table=FILE), which finds the row of each image"
        )
    found: dict[str, Any] = {}
    for name in wants.columns:
        try:
            found[name] = table[name]
        except (KeyError, IndexError, TypeError, ValueError):
            continue
    if lacking := wants.lacking(list(found)):
        raise DataError(f"the table lacks {listed(lacking)}, which this classifier takes beside images")
    for name, column in found.items():
        if len(column) != objects:
            raise DataError(f"the column {name!r} has {len(column)} rows, and there are {objects} objects")
    columns = {name: _numbers(name, column) for name, column in found.items()}
    return wants.given(pa.table({"object_id": [str(row) for row in range(objects)], **columns}))[0]


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    return ("the columns " if len(names) > 1 else "the column ") + ", ".join(map(repr, names))


def _numbers(name: str, column: Any) -> pa.Array:
    """A column as Arrow has it; masked values are missing."""
    values = column.filled(np.nan) if hasattr(column, "filled") else column
    values = values.to_pylist() if hasattr(values, "to_pylist") else values  # of Arrow: its own scalars are no numbers
    try:
        array = np.array([np.nan if value is None else value for value in values])
        return pa.array(array.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"the column {name!r} should hold numbers: {error}") from None
