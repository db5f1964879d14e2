"""Read a catalogue (CSV, ECSV, VOTable, FITS, Parquet or Excel) as an Arrow table. Its content tells which it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from skythaw.data.sources.user_tables import UNREADABLE, batches_of
from skythaw.errors import DataError
from skythaw.machine.files import is_text
from skythaw.machine.machine_fault import raise_if_memory_is_short

LARGEST_TEXTS = 256 << 20
"""bytes of all texts of a catalogue, which is held in memory: ids of some ten million objects"""


def read_catalogue(path: Path) -> pa.Table:
    """The columns of a catalogue that hold one value a row; units are kept in the metadata of the fields.

    Raises
    ------
    DataError
        There is no such file, it is no table, is damaged, holds texts of more than `LARGEST_TEXTS`, or has no rows.
    """
    if not is_text(path):
        raise DataError(f"the name of the catalogue {path} is not in UTF-8, which it should be: rename it")
    try:
        batches = list(_bounded(batches_of(Path(path), set())))
    except UNREADABLE as error:
        raise_if_memory_is_short(error)
        text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(f"can't read {path} as a catalogue: {text}") from None
    if not sum(batch.num_rows for batch in batches):
        raise DataError(f"{path} has no rows")
    return pa.Table.from_batches(batches)


def _bounded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, until their texts are too many: a few bytes of a hostile file may stand for a gigabyte of them."""
    size = 0
    for batch in batches:
        size += sum(each.nbytes for each in batch.columns if pa.types.is_string(each.type))
        if size > LARGEST_TEXTS:
            raise ValueError(f"its texts take more than {LARGEST_TEXTS >> 20} MiB; leave out the columns of texts")
        yield batch
