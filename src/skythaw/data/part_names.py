"""The names that people give to the parts of a data set: folders, and values of a column."""

from __future__ import annotations

import re
from collections.abc import Iterable

PART_COLUMNS = ("part", "split")
"""columns that may say in which part an object is; `data import` writes the first"""
USUAL = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_SUFFIX = re.compile(r"[\s_-]*(set|data|images?)$")


def part_of(name: str) -> str | None:
    """``train``, ``validation`` or ``test`` for any of their usual names in upper or lower case, else None."""
    plain = _SUFFIX.sub("", name.strip().casefold())
    return next((part for part, names in USUAL.items() if plain in names), None)


def parts_of(names: Iterable[str]) -> dict[str, str] | None:
    """The part that each name stands for; None unless all of them name parts, and at least two different ones."""
    found = {name: part_of(name) for name in set(names)}
    parts = {name: part for name, part in found.items() if part is not None}
    return parts if len(parts) == len(found) and len(set(parts.values())) > 1 else None
