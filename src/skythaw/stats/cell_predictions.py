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


@dataclass(frozen=True)
class Predictions:
    """Probabilities for every object of validation and test (of a trial: of validation alone)."""

    classes: tuple[str, ...]
    ids: dict[str, list[str]]
    targets: dict[str, np.ndarray]
    """by part: indices of the true classes, int [object]"""
    p: dict[str, np.ndarray]
    """by part: float32 [object, class]"""

    def table(self) -> pa.Table:
        """``object_id``, ``part``, ``label``, ``predicted``, and ``p_CLASS`` for each class."""
        names = np.array(self.classes)
        tables = []
        for part in (part for part in ("validation", "test") if part in self.p):
            p = self.p[part]
            columns = {
                "object_id": self.ids[part],
                "part": [part] * len(p),
                "label": names[self.targets[part]].tolist(),
                "predicted": names[p.argmax(1)].tolist(),
                **{f"p_{name}": p[:, i] for i, name in enumerate(self.classes)},
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
    file = predictions_path(run, key)
    try:
        columns = [f"p_{name}" for name in classes]
        table = pq.read_table(file, columns=["object_id", "label", *columns], filters=[("part", "=", part)])
    except (OSError, pa.ArrowException) as error:
        raise LedgerError(f"can't read the predictions {file}: {error}") from None
    p = np.stack([table[name].to_numpy() for name in columns], axis=1)
    return tuple(table["object_id"].to_pylist()), table["label"].to_numpy(), p
