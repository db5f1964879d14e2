"""What a cell said of every object of validation and test: ``RUN/predictions/KEY.parquet``. Imports no torch.

A file appears under its name whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from skythaw.errors import LedgerError
from skythaw.machine.files import replacing
from skythaw.spec import Cell

OUT_OF_FOLD = "out_of_fold"
"""the part of the training objects, each judged by a head that was solved without it (at depth 0)"""


@dataclass(frozen=True)
class Predictions:
    """What a network said of every object of validation and test (of a trial: of validation alone)."""

    classes: tuple[str, ...]
    ids: dict[str, list[str]]
    targets: dict[str, np.ndarray]
    """by part: indices of the true classes, int [object]"""
    log_p: dict[str, np.ndarray]
    """by part: log-probabilities, float32 [object, class]"""

    def table(self) -> pa.Table:
        """``object_id``, ``part``, ``label``, ``predicted``; of each class ``p_CLASS`` and its log ``logp_CLASS``.

        Where a network is very sure, a probability is 0 in float32 and its logarithm is not.
        """
        names = np.array(self.classes)
        tables = []
        for part in (part for part in ("validation", "test", OUT_OF_FOLD) if part in self.log_p):
            p = np.exp(self.log_p[part])
            columns = {
                "object_id": self.ids[part],
                "part": [part] * len(p),
                "label": names[self.targets[part]].tolist(),
                "predicted": names[p.argmax(1)].tolist(),
                **{f"p_{name}": p[:, i] for i, name in enumerate(self.classes)},
                **{f"logp_{name}": self.log_p[part][:, i] for i, name in enumerate(self.classes)},
            }
            tables.append(pa.table(columns))
        return pa.concat_tables(tables)


def predictions_path(run: Path, key: str) -> Path:
    return run / "predictions" / f"{key}.parquet"


def save_predictions(run: Path, cell: Cell, predictions: Predictions) -> None:
    """Write the predictions of a cell."""
    table = predictions.table().replace_schema_metadata({"skythaw": json.dumps({"schema": 1, "cell": cell.key})})
    with replacing(predictions_path(run, cell.key)) as file:
        pq.write_table(table, file, compression="zstd")


def read_predictions(
    run: Path, key: str, part: str, classes: Sequence[str]
) -> tuple[np.ndarray, Float[np.ndarray, "object class"]]:
    """Names of the true classes of one part, text [object], and the probabilities, in the order of the data.

    Raises
    ------
    LedgerError
        The file is gone or damaged.
    """
    _, labels, p = read_with_ids(run, key, part, classes)
    return labels, p


def read_with_ids(
    run: Path, key: str, part: str, classes: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray, Float[np.ndarray, "object class"]]:
    """The same, with the objects first."""
    columns = [f"p_{name}" for name in classes]
    table = _read(run, key, part, ["object_id", "label", *columns])
    p = np.stack([table[name].to_numpy() for name in columns], axis=1)
    return tuple(table["object_id"].to_pylist()), table["label"].to_numpy(), p


def read_log_probabilities(run: Path, key: str, part: str, classes: Sequence[str]) -> Float[np.ndarray, "object class"]:
    """The logarithms of the same probabilities.

    Files that were written before logarithms were kept have probabilities alone. A probability of 0 counts there as the
    smallest normal number of float32, 1e-38, which is as small as that 0 can be told from.
    """
    file = predictions_path(run, key)
    names = [f"logp_{name}" for name in classes]
    try:
        kept = set(names) <= set(pq.read_schema(file).names)
    except (OSError, pa.ArrowException) as error:
        raise LedgerError(f"can't read the predictions {file}: {error}") from None
    if not kept:
        p = read_predictions(run, key, part, classes)[1]
        return np.log(np.maximum(p, np.finfo(np.float32).tiny))
    table = _read(run, key, part, names)
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def _read(run: Path, key: str, part: str, columns: list[str]) -> pa.Table:
    file = predictions_path(run, key)
    try:
        return pq.read_table(file, columns=columns, filters=[("part", "=", part)])
    except (OSError, pa.ArrowException) as error:
        raise LedgerError(f"can't read the predictions {file}: {error}") from None
