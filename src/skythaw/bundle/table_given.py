"""The numbers that a user gives beside images in Python: columns of any table that can be asked for them by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from skythaw.bundle.numbers_wanted import NumbersWanted
from skythaw.data.sources.user_tables import UNIT
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
    columns = {name: _numbers(name, column) for name, column in found.items()}
    fields = [pa.field("object_id", pa.string())]
    for name, column in columns.items():
        fields.append(pa.field(name, column.type, metadata={UNIT: str(getattr(found[name], "unit", None) or "")}))
        if len(column) != objects:
            raise DataError(f"the column {name!r} has {len(column)} rows, and there are {objects} objects")
    ids = pa.array([str(row) for row in range(objects)], pa.string())
    values, said = wants.given(pa.table([ids, *columns.values()], schema=pa.schema(fields)))
    for sentence in said:
        warnings.warn(sentence, stacklevel=4)
    return values


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    return ("the columns " if len(names) > 1 else "the column ") + ", ".join(map(repr, names))


def _numbers(name: str, column: Any) -> pa.Array:
    """A column as Arrow has it: numbers, or texts, which are read as those of a file; a masked value is NaN or null."""
    if isinstance(column, str | bytes) or not hasattr(column, "__len__") or getattr(column, "shape", None) == ():
        raise DataError(f"the column {name!r} should hold a number for each object, not one value, {column!r:.40}")
    try:
        values = _plain(column)
        if any(isinstance(value, str) for value in values):
            return pa.array([None if value is None else str(value) for value in values], pa.string())
        array = np.array([np.nan if value is None else value for value in values])
        return pa.array(array.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"the column {name!r} should hold numbers: {error}") from None


def _plain(column: Any) -> list[Any]:
    """The values of a column, None where one is missing."""
    if hasattr(column, "to_pylist"):  # of Arrow: its own scalars are no numbers
        values = column.to_pylist()
    elif hasattr(column, "isna"):  # of pandas: its NA is no number
        values = [None if gone else value for value, gone in zip(column.tolist(), column.isna(), strict=True)]
    elif isinstance(column, np.ndarray):
        bare = np.asarray(getattr(column, "unmasked", column))  # without units; `unmasked` is of a masked quantity
        values = np.ma.MaskedArray(bare, getattr(column, "mask", False)).tolist()
    else:
        values = list(column)
    return [None if value is np.ma.masked else value for value in values]
