"""What an import does with the names of classes, and with images that come more than once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skythaw.data.class_names import is_no_label, look_alikes, merged_names, require_plain, say_alike
from skythaw.data.twins import digest_of, say_conflicts
from skythaw.errors import DataError


@dataclass(frozen=True)
class SetChoices:
    """What to do with names of classes, and with images that come more than once."""

    merge: bool = False
    """give class names that differ only in case, blanks, hyphens or a plural s the commonest of their spellings"""
    drop_conflicts: bool = False
    """leave out images that are there with different labels, instead of refusing them"""
    level: int | None = None
    """which level of folders names the classes, from 1, the outermost; None finds it"""
    unlabelled: bool = False
    """take images of a folder without labels, whatever its folders are called: to be predicted"""
    origin: str = ""
    """the address that the images were fetched from, with its commit; it stands in the file"""

    @property
    def recipe(self) -> dict[str, str]:
        """What the file says of its origin."""
        return {"origin": self.origin} if self.origin else {}


@dataclass(frozen=True)
class NamedLabels:
    """Labels as they are written, and what the user should know of them."""

    labels: tuple[str | None, ...]
    changed: dict[str, int]
    """what was merged, in words -> how many labels"""
    said: tuple[str, ...]


def named_labels(labels: Sequence[str | None], where: object, choices: SetChoices) -> NamedLabels:
    """Merge the spellings of a class if that is wanted, and check the names; one such as ``nan`` is no class.

    Parameters
    ----------
    labels
        of the objects
    where
        the folder or table that they come from, for messages
    choices
        whether spellings are merged

    Raises
    ------
    DataError
        A name of a class would do harm in a file, on a page or on a terminal.
    """
    changed = Counter(f"class {each!r} is none, kept as unlabelled" for each in labels if each and is_no_label(each))
    labels = [None if label is None or is_no_label(label) else label for label in labels]
    if choices.merge:
        names = merged_names(labels)
        changed.update(f"class {label!r} is now {names[label]!r}" for label in labels if label in names)
        labels = [names.get(label, label) if label is not None else None for label in labels]
    require_plain(sorted({label for label in labels if label is not None}), where)
    alike = [f"the classes {say_alike(names)} may be one; to merge them: --merge" for names in look_alikes(labels)]
    return NamedLabels(tuple(labels), dict(changed), tuple(alike))


class Copies:
    """Which decoded images are there more than once, and with which labels."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)

    def add(self, object_id: str, label: str | None, pixels: np.ndarray) -> None:
        """An image, decoded; one without a label agrees with every label."""
        if label is not None:
            self._seen[digest_of(pixels)].append((object_id, label))

    def conflicts(self) -> list[list[tuple[str, str]]]:
        """For each image with several labels, the ids and labels of its objects."""
        return [found for found in self._seen.values() if len({label for _, label in found}) > 1]

    def left_out(self) -> dict[str, str]:
        """The names whose image has several labels, and the reason."""
        return {
            object_id: "the same image is there with another label"
            for found in self.conflicts()
            for object_id, _ in found
        }

    def refuse(self) -> None:
        """Raise `DataError` if an image has several labels; the first ones are listed."""
        if found := self.conflicts():
            raise DataError(f"{say_conflicts(found)}; correct the labels, or leave these images out: --drop-conflicts")
