"""What a report will ask about the objects that are scored: their group on the sky, and the numbers known of them.

``RUN/objects.parquet``, one row an object of validation and test, in the order of the cells' predictions:
``object_id``, ``part``, ``group`` (objects of one group are not independent: the unit of the split; -1 where it is not
known), and every column of numbers of the data. So a report needs the run folder alone, wherever the data have gone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skythaw.data.cutouts import Cutouts, is_number
from skythaw.data.files import replacing
from skythaw.data.overlaps import FIELD
from skythaw.data.split import groups
from skythaw.errors import DataError, LedgerError, SpecError
from skythaw.study.material import Material

FIXED = ("object_id", "part", "group")


def objects_path(run: Path) -> Path:
    return run / "objects.parquet"


def save_objects(run: Path, material: Material) -> None:
    """Keep the scored objects of a study in its run folder, unless they are there."""
    if objects_path(run).exists():
        return
    validation = _rows(material.cutouts, material.parts.validation, "validation", material)
    if material.test is None:
        test = _rows(material.cutouts, material.parts.test, "test", material)
    else:
        test = _rows(material.test, np.flatnonzero(material.tested), "test", material)
    with replacing(objects_path(run)) as file:
        pq.write_table(pa.concat_tables([validation, test], promote_options="default"), file, compression="zstd")


def read_objects(run: Path) -> pa.Table | None:
    """What `save_objects` kept; None in a run folder of an earlier version, which kept nothing.

    Raises
    ------
    LedgerError
        The file is damaged.
    """
    file = objects_path(run)
    if not file.exists():
        return None
    try:
        found = pq.read_table(file)
        found.select(FIXED)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise LedgerError(f"can't read {file}: {error}; remove it, and run the study again to have it anew") from None
    return found


def _rows(cutouts: Cutouts, rows: np.ndarray, part: str, material: Material) -> pa.Table:
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "object_id": pa.array([cutouts.object_ids[i] for i in rows], pa.string()),
        "part": pa.array([part] * len(rows), pa.string()),
        "group": pa.array(_groups(cutouts, material)[rows], pa.int64()),
    }
    for name in cutouts.table.column_names:
        values = cutouts.table[name]
        if name not in (*FIXED, *FIELD) and is_number(values.type):
            columns[name] = pc.cast(values.take(pa.array(rows)), pa.float64(), safe=False)
    return pa.table(columns)


def _groups(cutouts: Cutouts, material: Material) -> np.ndarray:
    """The split's groups; -1 where they are not known: an external test set may lack the columns they need.

    A random split has no groups; then fields, or pixels of the sky, are taken where there are such columns.
    """
    by = material.study.data.split
    for way in ("field", "healpix") if by.by == "random" else (by.by,):
        try:
            return groups(cutouts, way, by.nside)
        except (SpecError, DataError):
            continue
    return np.full(len(cutouts), -1)
