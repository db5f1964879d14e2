"""The scored objects of a run, and what every cell said of them: what all statistics of a report start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from skythaw.data.overlaps import identify
from skythaw.errors import LedgerError
from skythaw.stats.cell_predictions import read_log_probabilities, read_predictions, read_with_ids
from skythaw.stats.object_table import FIXED, read_objects


@dataclass(frozen=True)
class Sample:
    """One part (validation or test) of a run's objects."""

    run: Path
    part: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    true: Int[np.ndarray, " object"]
    """indices of the true classes"""
    group: Int[np.ndarray, " object"]
    """0, 1, ...: objects of one group are drawn together"""
    grouped: bool
    """whether groups are known; else each object is its own"""
    numbers: dict[str, Float[np.ndarray, " object"]]
    """the data's columns of numbers"""
    said: dict[str, Int[np.ndarray, " object"]]
    """by cell key: index of the predicted class"""
    loss: dict[str, Float[np.ndarray, " object"]]
    """by cell key: minus the logarithm of the probability of the true class"""
    missing: tuple[str, ...]
    """keys of the cells whose predictions are not there, or of other objects"""
    single: str | None = None
    """why groups are not known: ``not kept`` by an earlier version, ``not known`` of the data, or in ``one group``"""

    def __len__(self) -> int:
        return len(self.true)

    def drawn(self, score: str = "") -> int:
        """How many objects, or groups of them, are drawn; for the score of one class (``recall QSO``), of it."""
        return self._drawn.get(score.partition(" ")[2], self._drawn[""])

    @cached_property
    def _drawn(self) -> dict[str, int]:
        """By class, and of all (an empty name); asked for every score of every row."""
        of_class = {name: self.group[self.true == i] for i, name in enumerate(self.classes)}
        return {name: max(1, len(np.unique(groups))) for name, groups in ({"": self.group} | of_class).items()}

    def probabilities(self, key: str) -> Float[np.ndarray, "object class"]:
        """The probabilities of one cell, read again from its file."""
        return read_predictions(self.run, key, self.part, self.classes)[1]

    def log_probabilities(self, key: str) -> Float[np.ndarray, "object class"]:
        """Their logarithms, as the network gave them: see `read_log_probabilities`."""
        return read_log_probabilities(self.run, key, self.part, self.classes)


def read_sample(run: Path, part: str, classes: Sequence[str], keys: Iterable[str]) -> Sample | None:
    """Read the predictions of some cells; None where not one can be read.

    Parameters
    ----------
    run
        the run folder
    part
        ``validation`` or ``test``
    classes
        names, in the order of the probabilities' columns
    keys
        of the cells
    """
    classes = tuple(classes)
    said: dict[str, np.ndarray] = {}
    loss: dict[str, np.ndarray] = {}
    missing: list[str] = []
    ids: tuple[str, ...] = ()
    true = np.zeros(0, dtype=np.int64)
    for key in keys:
        try:
            objects, labels, p = read_with_ids(run, key, part, classes)
        except LedgerError:
            missing.append(key)
            continue
        if not said and len(objects) and set(labels.tolist()) <= set(classes):
            ids, true = objects, _indices(labels, classes)
        if objects != ids or not ids or not np.isfinite(p).all():
            missing.append(key)
            continue
        said[key] = p.argmax(1).astype(np.int16)
        loss[key] = -np.log(np.maximum(p[np.arange(len(p)), true], 1e-15)).astype(np.float32)
    if not said:
        return None
    group, numbers, single = _known(run, part, ids)
    return Sample(
        run=run,
        part=part,
        classes=classes,
        ids=ids,
        true=true,
        group=np.arange(len(ids)) if group is None else group,
        grouped=group is not None,
        single=single,
        numbers=numbers,
        said=said,
        loss=loss,
        missing=tuple(missing),
    )


def _indices(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    place = {name: i for i, name in enumerate(classes)}
    return np.array([place[name] for name in labels.tolist()], dtype=np.int64)


def _known(run: Path, part: str, ids: tuple[str, ...]) -> tuple[np.ndarray | None, dict[str, np.ndarray], str | None]:
    """Groups and numbers of the objects as the run folder kept them, and why there are no groups if there are none."""
    kept = read_objects(run)
    if kept is None:
        return None, {}, "not kept"
    kept = kept.filter(pc.equal(kept["part"], part))
    place = {object_id: i for i, object_id in enumerate(kept["object_id"].to_pylist())}
    if not set(ids) <= set(place):
        return None, {}, "not kept"
    kept = kept.take(pa.array([place[object_id] for object_id in ids]))
    numbers = {name: kept[name].to_numpy() for name in kept.column_names if name not in FIXED}
    group = kept["group"].to_numpy()
    if (group < 0).any() or len(np.unique(group)) < 2:
        return None, numbers, "not known" if (group < 0).any() else "one group"
    return identify([group]), numbers, None
