"""The rows of a ledger: what each says of a cell, and the checksum that shows whether that is what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import ValidationError

from skythaw.spec import Cell
from skythaw.spec.validation_message import one_line
from skythaw.study.cell_result import Result

State = Literal["waiting", "running", "done", "failed"]
SEALED = ("key", "position", "cell", "cost", "race", "result", "error")
"""columns under the checksum: all but those that say who runs the cell now"""


@dataclass(frozen=True)
class Entry:
    """A cell's row."""

    key: str
    cell: Cell
    cost: float
    """forward FLOPs of the whole cell, roughly: for sharing out time"""
    state: State
    attempts: int
    result: Result | None
    error: str | None


def row_sha256(values: Sequence[Any]) -> str:
    """The checksum of a row, from the values of the columns `SEALED`."""
    return text_sha256(json.dumps(list(values)))


def text_sha256(text: str) -> str:
    """The checksum of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def entry_of(row: dict[str, Any]) -> Entry:
    """A row as an entry, if it is what was written.

    Parameters
    ----------
    row
        the columns by name; ``sha256`` is None in ledgers of older versions

    Raises
    ------
    ValueError
        It is damaged; the text says how.
    """
    if row["sha256"] is not None and row["sha256"] != row_sha256([row[name] for name in SEALED]):
        raise ValueError("its checksum differs")
    state, result, error = row["state"], row["result"], row["error"]
    if state not in get_args(State) or (state == "done") != (result is not None) or (state == "failed" and not error):
        raise ValueError(f"its state {state!r} does not fit what is kept of it")
    try:
        cell = Cell.model_validate_json(row["cell"])
    except ValidationError as found:
        raise ValueError(_at(found, Cell)) from None
    try:
        kept = None if result is None else Result.model_validate_json(result)
    except ValidationError as found:
        raise ValueError(f"result: {_at(found, Result)}") from None
    return Entry(row["key"], cell, row["cost"], state, row["attempts"], kept, error)


def _at(error: ValidationError, model: type[Any]) -> str:
    return " ".join(one_line(error, model).split())[:200]
