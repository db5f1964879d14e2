"""What a report will ask about the objects that are scored: their group on the sky, and the numbers known of them.

``RUN/objects.parquet``, one row an object of validation and test, in the order of the cells' predictions:
``object_id``, ``part``, ``group`` (objects of one group are not independent: the unit of the split; -1 where it is not
known), and every column of numbers of the data. So a report needs the run folder alone, wherever the data have gone.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from skythaw.errors import LedgerError
from skythaw.machine.machine_fault import raise_if_memory_is_short
from skythaw.machine.sealed_table import require_sealed

FIXED = ("object_id", "part", "group")


def objects_path(run: Path) -> Path:
    return run / "objects.parquet"


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
        require_sealed(found, always=False)
        found.select(FIXED)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise_if_memory_is_short(error)
        why = " ".join(str(error).split())
        raise LedgerError(f"can't read {file}: {why}; remove it, and run the study again to have it anew") from None
    return found
