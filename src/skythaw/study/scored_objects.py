"""Keep what a report will ask about the objects that are scored: `skythaw.stats.object_table` reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skythaw.data.cutouts import Cutouts, is_number
from skythaw.data.overlaps import FIELD
from skythaw.data.split_groups import given_parts, groups, sky_groups
from skythaw.data.twins import merged, twin_basis, twin_groups
from skythaw.errors import DataError, SpecError
from skythaw.machine.files import replacing
from skythaw.machine.sealed_table import sealed
from skythaw.stats.object_table import FIXED, objects_path
from skythaw.study.study_data import StudyData


def save_objects(run: Path, study_data: StudyData) -> None:
    """Keep the scored objects of a study in its run folder, unless they are there."""
    if objects_path(run).exists():
        return
    validation = _rows(study_data.cutouts, study_data.parts.validation, "validation", study_data)
    if study_data.test is None:
        test = _rows(study_data.cutouts, study_data.parts.test, "test", study_data)
    else:
        test = _rows(study_data.test, np.flatnonzero(study_data.tested), "test", study_data)
    table = sealed(pa.concat_tables([validation, test], promote_options="default"))
    with replacing(objects_path(run)) as file:
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)


def _rows(cutouts: Cutouts, rows: np.ndarray, part: str, study_data: StudyData) -> pa.Table:
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "object_id": pa.array([cutouts.object_ids[i] for i in rows], pa.string()),
        "part": pa.array([part] * len(rows), pa.string()),
        "group": pa.array(_groups(cutouts, study_data)[rows], pa.int64()),
    }
    for name in cutouts.table.column_names:
        values = cutouts.table[name]
        if name not in (*FIXED, *FIELD) and is_number(values.type):
            columns[name] = pc.cast(values.take(pa.array(rows)), pa.float64(), safe=False)
    return pa.table(columns)


def _groups(cutouts: Cutouts, study_data: StudyData) -> np.ndarray:
    """The split's groups; -1 where they are not known: an external test set may lack the columns they need.

    A random split has no groups, and parts that a column gives have none; then fields, or pixels of the sky, are taken
    where there are such columns. Copies of one image are in one group.
    """
    spec, twins = study_data.study.data.split, study_data.division.twins
    if cutouts is study_data.test:
        twins = twin_groups(cutouts) if twin_basis(cutouts, study_data.tested, None) else None
    if spec.by == "random" or given_parts(study_data.cutouts, spec.by) is not None:
        known = sky_groups(cutouts, spec.nside)
    else:
        try:
            known = groups(cutouts, spec.by, spec.nside)
        except (SpecError, DataError):
            known = None
    if known is None:
        return np.full(len(cutouts), -1) if twins is None else twins
    return known if twins is None else merged(known, twins)
