"""`NumberTable`: the numbers of each object, by id. A number that is missing is NaN."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skythaw.errors import DataError, UnknownNameError


@dataclass(frozen=True, eq=False)
class NumberTable:
    """Numbers of objects.

    Raises
    ------
    DataError
        The shapes do not fit together, an id or a name occurs twice, or a value is infinite.
    """

    ids: tuple[str, ...]
    """one a row, no two alike"""
    names: tuple[str, ...]
    """one a column, no two alike"""
    values: np.ndarray
    """float64 [object number]; NaN where a number is missing"""

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.shape != (len(self.ids), len(self.names)):
            raise DataError(
                f"a table of numbers has {len(self.ids)} ids and {len(self.names)} names, but values of shape "
                f"{values.shape}"
            )
        for what, texts in (("id", self.ids), ("number", self.names)):
            if twice := first_twice(texts):
                raise DataError(f"a table of numbers has the {what} {twice!r} twice")
        if len(infinite := np.argwhere(np.isinf(values))):
            row, column = infinite[0]
            raise DataError(f"{self.names[column]!r} of object {self.ids[row]!r} is infinite")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        shown = ", ".join(self.names[:3]) + (", ..." if len(self.names) > 3 else "")
        return f"<NumberTable: {len(self.ids)} objects, {len(self.names)} numbers ({shown})>"

    @cached_property
    def _row(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids)}

    @cached_property
    def sha256(self) -> str:
        """Checksum of ids, names and values."""
        digest = hashlib.sha256(json.dumps([self.ids, self.names]).encode())
        digest.update(np.where(np.isnan(self.values), np.nan, self.values).astype("<f8").tobytes())
        return digest.hexdigest()

    @cached_property
    def missing(self) -> dict[str, int]:
        """For each number, of how many objects it is missing."""
        return dict(zip(self.names, np.isnan(self.values).sum(0).tolist(), strict=True))

    def rows_of(self, ids: Iterable[str]) -> NumberTable:
        """The rows of these objects, in their order; objects that are not there have no numbers."""
        ids = tuple(ids)
        row = np.array([self._row.get(name, -1) for name in ids], dtype=np.int64)
        values = np.full((len(ids), len(self.names)), np.nan)
        values[row >= 0] = self.values[row[row >= 0]]
        return NumberTable(ids, self.names, values)

    def beside(self, other: NumberTable) -> NumberTable:
        """The numbers of both, for the objects of this table."""
        values = np.concatenate([self.values, other.rows_of(self.ids).values], axis=1)
        return NumberTable(self.ids, self.names + other.names, values)

    def select(self, names: Sequence[str]) -> NumberTable:
        """These numbers, in this order.

        Raises
        ------
        UnknownNameError
            One is not there.
        """
        for name in names:
            if name not in self.names:
                raise UnknownNameError.among("number", name, self.names)
        return NumberTable(self.ids, tuple(names), self.values[:, [self.names.index(name) for name in names]])


def first_twice(texts: Sequence[str]) -> str | None:
    """The first text that occurs a second time, or None."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None
