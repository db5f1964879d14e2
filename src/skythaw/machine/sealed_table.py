"""Tables that are read back: the checksum of all values is kept in the metadata, and compared when they are read.

Parquet has checksums of its pages, but a flipped bit in what stands between them may give other values without a word.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

SHA256 = b"sha256"
"""key in the metadata of the schema"""


def sealed(table: pa.Table) -> pa.Table:
    """A table with the checksum of its values in its metadata.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from skythaw.machine.sealed_table import require_sealed, sealed
    >>> require_sealed(sealed(pa.table({"object_id": ["a", None], "z": [0.1, 0.2]})))
    """
    return table.replace_schema_metadata({**(table.schema.metadata or {}), SHA256: _sha256(table).encode()})


def require_sealed(table: pa.Table, *, always: bool = True) -> None:
    """Raise `ValueError` if a table is not what it was when it was `sealed`.

    Parameters
    ----------
    table
        as it was read
    always
        refuse a table without a checksum, too; older versions wrote none
    """
    recorded = (table.schema.metadata or {}).get(SHA256)
    if recorded is None and not always:
        return
    if recorded != _sha256(table).encode():
        raise ValueError("it is damaged: its checksum differs")


def _sha256(table: pa.Table) -> str:
    """Of names, types and values; what stands behind a null does not count."""
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name} {_kind(column.type)} {len(column)} ".encode())
        digest.update(column.is_valid().to_numpy().astype(np.uint8).tobytes())
        digest.update(_values(column))
    return digest.hexdigest()


def _kind(kind: pa.DataType) -> str:
    """A type as it is before and after Parquet, which gives the values of lists another name."""
    return f"{kind.list_size} of {kind.value_type}" if pa.types.is_fixed_size_list(kind) else str(kind)


def _values(column: pa.ChunkedArray) -> bytes:
    if pa.types.is_fixed_size_list(column.type):
        return _values(pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type))
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.fill_null(0).to_numpy().tobytes()
    texts = ["" if value is None else str(value) for value in column.to_pylist()]
    return np.array([len(text) for text in texts], np.int64).tobytes() + "".join(texts).encode()
