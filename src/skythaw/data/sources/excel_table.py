"""The first sheet of an Excel workbook (.xlsx), read by openpyxl; its size is bounded before anything is unpacked."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.errors import DataError
from skythaw.machine.machine_fault import raise_if_memory_is_short

LARGEST_WORKBOOK = 128 << 20
"""bytes of its parts, unpacked"""
MOST_PARTS = 1000
MOST_CELLS = 20_000_000
GROWS = re.compile(rb"<!ENTITY|<!DOCTYPE", re.IGNORECASE)
ROWS = 10_000
WHOLE = 1 << 53


def excel_batches(path: Path) -> list[pa.RecordBatch]:
    """The rows of the first sheet, every cell as text; an empty cell is null, an empty row is left out.

    Raises
    ------
    ValueError
        It is no workbook, or too large, or has two columns of one name.
    DataError
        The package openpyxl is not installed.
    """
    try:
        import openpyxl
    except ImportError:
        raise DataError(
            f"{path} is an Excel workbook; to read it: pip install 'skythaw[excel]'; or save it as CSV (UTF-8)"
        ) from None
    _refuse_hostile(path)
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            try:
                sheet = book.worksheets[0]
                sheet.reset_dimensions()
                return list(_batches(sheet.iter_rows(values_only=True)))
            finally:
                book.close()
    except (ValueError, OSError):
        raise
    except Exception as error:  # openpyxl raises many kinds of errors on a torn file
        raise_if_memory_is_short(error)
        raise ValueError(f"it is no Excel workbook: {' '.join(str(error).split())[:100]}") from None


def _refuse_hostile(path: Path) -> None:
    with zipfile.ZipFile(path) as parts:
        infos = parts.infolist()
        if len(infos) > MOST_PARTS or sum(info.file_size for info in infos) > LARGEST_WORKBOOK:
            raise ValueError(f"it unpacks to more than {LARGEST_WORKBOOK >> 20} MiB; save it as CSV (UTF-8)")
        if "xl/workbook.xml" not in parts.namelist():
            raise ValueError("it is a zip archive, but no Excel workbook")
        for info in infos:
            if info.filename.endswith((".xml", ".rels")):
                with parts.open(info) as part:
                    if any(GROWS.search(chunk) for chunk in iter(lambda part=part: part.read(1 << 20), b"")):  # type: ignore[misc]
                        raise ValueError("a workbook with entities or a document type is not read")


def _batches(rows: Iterator[Sequence[Any]]) -> Iterator[pa.RecordBatch]:
    read = _texts(rows)
    header = next(read, [])
    while header and header[-1] is None:
        header.pop()
    names = [name or "" for name in header]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns are called {twice[0]!r}")
    while page := list(islice(read, ROWS)):
        if long := next((row for row in page if any(row[len(names) :])), None):
            raise ValueError(f"a row has {len(long)} values for {len(names)} columns")
        cells = [(row + [None] * len(names))[: len(names)] for row in page]
        arrays = [pa.array(column, pa.string()) for column in zip(*cells, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, names=names)


def _texts(rows: Iterator[Sequence[Any]]) -> Iterator[list[str | None]]:
    count = 0
    for row in rows:
        count += len(row) + 1
        if count > MOST_CELLS:
            raise ValueError(f"its first sheet has more than {MOST_CELLS} cells or rows; save it as CSV (UTF-8)")
        texts = [_text(value) for value in row]
        if any(texts):
            yield texts


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE:
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value).strip() or None if value is not None else None
