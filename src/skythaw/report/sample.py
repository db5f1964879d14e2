"""The scored objects of a run, and what every cell said of them: what all statistics of a report start from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from skythaw.data.overlaps import identify
from skythaw.errors import LedgerError
from skythaw.study.objects import read_objects
from skythaw.study.predictions import predictions_path, read_predictions


@dataclass(frozen=True)
class Sample:
    """One part (validation or test) of a run's objects."""

    run: Path
    part: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    """empty in a run folder that did not keep its objects"""
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

    def __len__(self) -> int:
        return len(self.true)

    def probabilities(self, key: str) -> Float[np.ndarray, "object class"]:
        """The probabilities of one cell, read again from its file."""
        return read_predictions(self.run, key, self.part, self.classes)[1]


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
    labels: np.ndarray | None = None
    for key in keys:
        try:
            found, p = read_predictions(run, key, part, classes)
        except LedgerError:
            missing.append(key)
            continue
        if labels is None and len(found):
            labels = found
        if labels is None or not np.array_equal(labels, found):
            missing.append(key)
            continue
        true = _indices(labels, classes)
        said[key] = p.argmax(1).astype(np.int16)
        loss[key] = -np.log(np.maximum(p[np.arange(len(p)), true], 1e-15)).astype(np.float32)
    if labels is None:
        return None
    ids, group, numbers = _objects(run, part, len(labels), next(iter(said)))
    return Sample(
        run=run,
        part=part,
        classes=classes,
        ids=ids,
        true=_indices(labels, classes),
        group=np.arange(len(labels)) if group is None else group,
        grouped=group is not None,
        numbers=numbers,
        said=said,
        loss=loss,
        missing=tuple(missing),
    )


def _indices(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    place = {name: i for i, name in enumerate(classes)}
    return np.array([place[name] for name in labels.tolist()], dtype=np.int64)


def _objects(
    run: Path, part: str, count: int, key: str
) -> tuple[tuple[str, ...], np.ndarray | None, dict[str, np.ndarray]]:
    """Ids, groups and numbers of the objects as the run folder kept them; or ids alone, from a cell's predictions."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    kept = read_objects(run)
    if kept is not None:
        kept = kept.filter(pc.equal(kept["part"], part))
    if kept is None or len(kept) != count:
        table = pq.read_table(predictions_path(run, key), columns=["object_id"], filters=[("part", "=", part)])
        return tuple(table["object_id"].to_pylist()), None, {}
    numbers = {n: kept[n].to_numpy() for n in kept.column_names if n not in ("object_id", "part", "group")}
    return tuple(kept["object_id"].to_pylist()), identify([kept["group"].to_numpy()]), numbers
