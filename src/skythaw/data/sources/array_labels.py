"""The labels among arrays of a file: which array holds them, and what its values say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from skythaw.data.class_names import is_no_label
from skythaw.data.sources.column_names import label_names
from skythaw.data.sources.table_sheet import WHOLE

LABEL_ARRAYS = (
    *("label", "labels", "ans", "class", "class_name", "target", "category", "y", "y_train", "arr_1", "classes"),
)


def short_name(name: str) -> str:
    """The name of an array without its groups, in lower case."""
    return name.lower().rpartition("/")[2]


def label_arrays(names: Iterable[str]) -> list[str]:
    """The names that labels usually have, the likeliest first; not `y` if there is an `x`, whose other half it is."""
    short = {short_name(name): name for name in names}
    return [short[each] for each in label_names(short, LABEL_ARRAYS) if each in short]


def label_texts(values: Sequence[Any], names: Sequence[Any] | None = None) -> list[str | None]:
    """Labels as text: numbers by their names where there are any.

    None where a text says so (see `is_no_label`), or is -1 among whole numbers, unless 1 is the only other one. A list
    of one value is that value. Of one column for each class, the largest value tells the class; where two are equally
    large, or one is missing, there is none.

    Raises
    ------
    ValueError
        A number has no name; a list holds something else than numbers.
    """
    values = [_single(value) if isinstance(value, list | tuple | np.ndarray) else value for value in values]
    texts = [text_of(value) for value in values]
    given = {text for text in texts if not is_no_label(text)}
    numbers = all(isinstance(value, int | float) or value is None for value in values)
    whole = numbers or all(WHOLE.fullmatch(text) for text in given)
    none = "-1" if whole and given - {"-1"} != {"1"} else None
    known = None if names is None else [text_of(name) for name in names]
    found: list[str | None] = []
    for value, text in zip(values, texts, strict=True):
        if text not in given or text == none:
            found.append(None)
        elif known and isinstance(value, int):
            if not 0 <= value < len(known):
                raise ValueError(f"the label {value} has no name; there are names for 0 to {len(known) - 1} alone")
            found.append(None if is_no_label(known[value]) else known[value])
        else:
            found.append(text)
    return found


def _single(row: Any) -> Any:
    """The only value of a list, or the place of the largest of several numbers, if it is the only one."""
    if len(row) == 1:
        return row[0]
    try:
        numbers = np.asarray(row, dtype=float)
    except (ValueError, TypeError):
        numbers = np.zeros((0, 0))
    if numbers.ndim != 1:
        raise ValueError(f"the label {str(list(row))[:60]} should be one value, or a number for each class")
    best = np.flatnonzero(numbers == numbers.max(initial=-np.inf))
    return int(best[0]) if len(best) == 1 else None


def text_of(value: Any) -> str:
    """A value as text, without blanks around it; a whole number without decimals."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip("\0 ")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()
