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
_SUFFIX = re.compile(r"[\s_-]*(?:(set|data|images?)|\d+)$")


def part_of(name: str) -> str | None:
    """``train``, ``validation`` or ``test`` for any of their usual names in upper or lower case, else None."""
    plain = _SUFFIX.sub("", _SUFFIX.sub("", name.strip().casefold()))
    return next((part for part, names in USUAL.items() if plain in names), None)


def parts_of(names: Iterable[str]) -> dict[str, str] | None:
    """The part that each name stands for; None unless all of them name parts, and at least two different ones."""
    found = {name: part_of(name) for name in set(names)}
    parts = {name: part for name, part in found.items() if part is not None}
    return parts if len(parts) == len(found) and len(set(parts.values())) > 1 else None


def parts_in_names(names: Iterable[str]) -> bool:
    """Whether all names are made of a part and a class, as train_STAR and test_STAR are."""
    split = [part_and_rest(name) for name in set(names)]
    found = [each for each in split if each is not None]
    return len(found) == len(split) and len(dict(found)) > 1 and len({rest for _, rest in found}) < len(found)


def part_and_rest(name: str) -> tuple[str, str] | None:
    """The part that the first or the last word of a name stands for, as `part_of` says, and the other words."""
    for first, sign, rest in (name.partition(each) for each in ("_", "-", " ")):
        if sign and rest and (part := part_of(first)):
            return part, rest
    for rest, sign, last in (name.rpartition(each) for each in ("_", "-", " ")):
        if sign and rest and (part := part_of(last)):
            return part, rest
    return None
