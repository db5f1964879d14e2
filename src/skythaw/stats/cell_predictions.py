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
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float

from skythaw.errors import LedgerError
from skythaw.machine.files import replacing
from skythaw.machine.machine_fault import raise_if_memory_is_short
from skythaw.machine.sealed_table import require_sealed, sealed
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
        pq.write_table(sealed(table), file, compression="zstd", write_page_checksum=True)


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
    table = read_part(run, key, part)
    p = np.stack([table[name].to_numpy() for name in columns], axis=1)
    return tuple(table["object_id"].to_pylist()), table["label"].to_numpy(), p


def read_log_probabilities(run: Path, key: str, part: str, classes: Sequence[str]) -> Float[np.ndarray, "object class"]:
    """The logarithms of the same probabilities.

    Files that were written before logarithms were kept have probabilities alone. A probability of 0 counts there as the
    smallest normal number of float32, 1e-38, which is as small as that 0 can be told from.
    """
    table = read_part(run, key, part)
    names = [f"logp_{name}" for name in classes]
    if not set(names) <= set(table.column_names):
        p = read_predictions(run, key, part, classes)[1]
        return np.log(np.maximum(p, np.finfo(np.float32).tiny))
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def read_part(run: Path, key: str, part: str) -> pa.Table:
    """The rows of one part, as `Predictions.table` has them.

    Raises
    ------
    LedgerError
        The file is gone or damaged.
    """
    file = predictions_path(run, key)
    try:
        table = pq.read_table(file, page_checksum_verification=True)
        require_sealed(table, always=False)
        return table.filter(pc.equal(table["part"], part))
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise_if_memory_is_short(error)
        mend = "put back a copy of it, or remove it to do without"
        raise LedgerError(f"can't read the predictions {file}: {' '.join(str(error).split())}; {mend}") from None
