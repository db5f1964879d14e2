"""Read a catalogue (CSV, ECSV, VOTable, FITS, Parquet or Excel) as an Arrow table. Its content tells which it is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from skythaw.data.sources.user_tables import UNREADABLE, batches_of
from skythaw.errors import DataError


def read_catalogue(path: Path) -> pa.Table:
    """The columns of a catalogue that hold one value a row; units are kept in the metadata of the fields.

    Raises
    ------
    DataError
        There is no such file, it is no table, is damaged, or has no rows.
    """
    try:
        batches = list(batches_of(Path(path), set()))
    except UNREADABLE as error:
        text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"can't read {path} as a catalogue: {text}") from None
    if not sum(batch.num_rows for batch in batches):
        raise DataError(f"{path} has no rows")
    return pa.Table.from_batches(batches)
