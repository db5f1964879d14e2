"""Which objects a cell trains on, chooses by and is scored on. No torch: a control on numbers needs none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skythaw.data.cutouts import Cutouts
from skythaw.data.pixel_store import Store
from skythaw.data.split import nested_order, split
from skythaw.data.split_groups import kept_together
from skythaw.data.twins import store_digests, twin_groups
from skythaw.errors import DataError
from skythaw.spec import Cell

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class OpenSet:
    """A data set, and its decoded images."""

    cutouts: Cutouts
    store: Store


@dataclass(frozen=True)
class CellObjects:
    """The objects of a cell, by part: ``train``, ``validation`` and ``test``."""

    classes: tuple[str, ...]
    sets: dict[str, OpenSet]
    """where a part's objects are"""
    rows: dict[str, np.ndarray]
    """which of them, int [object]"""
    groups: np.ndarray
    """of the training objects: those of one group lie together on the sky, int [object]"""
    pool: np.ndarray
    """rows of the whole training part, from which the training objects are drawn, int [object]"""

    @property
    def ids(self) -> dict[str, list[str]]:
        return {part: [self.sets[part].cutouts.object_ids[i] for i in rows] for part, rows in self.rows.items()}

    @property
    def targets(self) -> dict[str, np.ndarray]:
        """Indices of the true classes, int [object]."""
        index = {name: i for i, name in enumerate(self.classes)}
        labels = {part: self.sets[part].cutouts.labels[rows] for part, rows in self.rows.items()}
        return {part: np.array([index[label] for label in some], dtype=np.int64) for part, some in labels.items()}


def cell_objects(cell: Cell, data: OpenSet, test: OpenSet | None) -> CellObjects:
    """Divide the objects as the cell says, and draw its training objects.

    Parameters
    ----------
    cell
        which
    data
        the data set
    test
        the external test set, where there is one and it is wanted

    Raises
    ------
    DataError
        A data set is no longer the one that the cell was planned with.
    """
    cutouts, usable = _unchanged(data.cutouts, cell.data_sha256), data.store.usable
    twins = None
    if cell.split.twins is not None:
        basis = cell.split.twins
        twins = twin_groups(cutouts, None if basis == "bytes" else store_digests(data.store), basis)
    parts = split(cutouts, cell.split, usable=usable, external_test=cell.test_sha256 is not None, twins=twins)
    pool = parts.train
    drawn = pool[nested_order(cutouts.labels[pool], cell.seed)[: cell.train_size]]
    rows = {"train": drawn, "validation": parts.validation, "test": parts.test}
    if test is not None:
        _unchanged(test.cutouts, cell.test_sha256)
        rows["test"] = np.flatnonzero(test.cutouts.labelled & test.store.usable)
    return CellObjects(
        classes=cutouts.classes,
        sets={"train": data, "validation": data, "test": test or data},
        rows=rows,
        groups=kept_together(cutouts, cell.split, twins)[drawn],
        pool=pool,
    )


def _unchanged(cutouts: Cutouts, expected: str | None) -> Cutouts:
    if cutouts.sha256 != expected:
        raise DataError(f"{cutouts.paths[0]} has changed since the study was planned: run the study in a new folder")
    return cutouts
