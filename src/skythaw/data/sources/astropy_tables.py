"""The tables of astronomers (ECSV, VOTable, FITS), read by astropy; what a hostile file could do is refused before."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.sources.dropped_columns import noting
from skythaw.data.sources.text_tables import Opened
from skythaw.machine.machine_fault import raise_if_memory_is_short

UNIT = b"unit"
"""key in the metadata of a field"""
ELSEWHERE = re.compile(rb"<!ENTITY|<!DOCTYPE|STREAM\b[^<]*\shref\s*=|\0", re.IGNORECASE)
"""parts of XML that make it grow or read other files; the null byte shows another encoding, in which they would hide"""
LARGEST_TEXT = 256 << 20
"""bytes of an ECSV file, a VOTable or a compressed FITS table, which are read whole"""
ROWS = 10_000
TYPES = {"u": pa.uint64(), "i": pa.int64(), "f": pa.float64(), "b": pa.bool_()}
"""the Arrow type for each kind of numbers of NumPy"""


def astropy_batches(path: Path, kind: str, opened: Opened) -> Iterator[pa.RecordBatch]:
    """The rows of an ECSV file, a VOTable or the first table of a FITS file; only columns of plain values.

    Raises
    ------
    ValueError
        It can't be read, is too large to be read whole, or would read other files.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = _fits(path, opened) if kind == "FITS" else _text(kind, opened)
        yield from _batches(table)
    except Exception as error:  # astropy raises many kinds of errors on a torn file
        raise_if_memory_is_short(error)
        raise ValueError(str(error) or type(error).__name__) from None


def _text(kind: str, opened: Opened) -> Any:
    from astropy.table import Table

    content = _whole(opened)
    if kind == "ECSV":
        return Table.read(content.decode("utf-8-sig").splitlines(), format="ascii.ecsv")
    if ELSEWHERE.search(content):
        raise ValueError("a VOTable with entities, a document type or data in other files is not read")
    if b"<VOTABLE" not in content and b":VOTABLE" not in content:
        raise ValueError("it is XML or a web page, but no VOTable")
    return Table.read(io.BytesIO(content), format="votable")


def _fits(path: Path, opened: Opened) -> Any:
    """The first table of a FITS file. Its rows stay on the disk where the file is not compressed."""
    from astropy.io import fits
    from astropy.table import Table

    with path.open("rb") as file:
        plain = file.read(6) == b"SIMPLE"
    source = path if plain else io.BytesIO(_whole(opened))
    size = path.stat().st_size if plain else source.getbuffer().nbytes  # type: ignore[union-attr]
    found = []
    with fits.open(source, memmap=plain, disable_image_compression=True) as hdus:
        for number, hdu in enumerate(hdus):
            where = hdu.fileinfo()
            if where["datLoc"] + hdu.size > size:
                raise ValueError(f"it is truncated: part {number} announces {hdu.size} bytes of data")
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and "ZIMAGE" not in hdu.header:
                return Table.read(hdu, format="fits", unit_parse_strict="silent")
            found.append("compressed image" if "ZIMAGE" in hdu.header else "image")
    raise ValueError(f"it is a FITS file without a table; it has {', '.join(found[:5])}")


def _whole(opened: Opened) -> bytes:
    with opened() as file:
        content = file.read(LARGEST_TEXT + 1)
    if len(content) > LARGEST_TEXT:
        raise ValueError(
            f"it has more than {LARGEST_TEXT >> 20} MiB; convert it to Parquet or CSV, which are read in parts"
        )
    return content


def _batches(table: Any) -> Iterator[pa.RecordBatch]:
    from astropy.table import Column

    names = [n for n, c in table.columns.items() if isinstance(c, Column) and c.ndim == 1 and _is_plain(c)]
    dropped = {name: _kind(column) for name, column in table.columns.items() if name not in names}
    for start in range(0, max(len(table), 1), ROWS):
        arrays, fields = [], []
        for name in names:
            column = table[name][start : start + ROWS]
            kind = TYPES.get(column.dtype.kind, pa.string())
            arrays.append(pa.array([_value(value) for value in column.tolist()], kind))
            fields.append(pa.field(name, kind, metadata={UNIT: str(column.unit or "")}))
        yield noting(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)), dropped)


def _is_plain(column: Any) -> bool:
    """Whether a column holds numbers or texts, and no arrays or objects."""
    if column.dtype.kind == "O":
        return all(value is None or isinstance(value, str | bytes) for value in column.tolist())
    return column.dtype.kind in "SU" or column.dtype.kind in TYPES


def _kind(column: Any) -> str:
    """The type of a column that is not kept, in words."""
    shape = getattr(column, "shape", ())[1:]
    return f"{type(column).__name__} of {getattr(column, 'dtype', 'objects')}" + (f" {shape}" if shape else "")


def _value(value: Any) -> Any:
    return value.decode("utf-8").rstrip() if isinstance(value, bytes) else value
