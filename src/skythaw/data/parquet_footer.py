"""What the footer of a Parquet file says of its columns, without Arrow's own objects for them.

Arrow ends the process where a footer's statistics of sizes are damaged and such an object is asked for: its exception
is caught by nobody. So the footer is taken as bytes, in the compact form of Thrift, and read here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUPS, COLUMNS, ABOUT = 4, 1, 3
"""numbers of the fields in Parquet's parquet.thrift: of the file, of a row group, of a column chunk"""
KIND, ENCODINGS, PATH, UNPACKED_SIZE, PACKED_SIZE, VALUES_AT, DICTIONARY_AT = 1, 2, 3, 6, 7, 9, 11
"""of a chunk's own description"""
DICTIONARIES = {2, 8}
"""encodings in which one value may stand for many rows"""
BYTE_ARRAY = 6
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
"""kinds of values in Thrift's compact form; 4 to 6 are whole numbers"""


@dataclass(frozen=True)
class ColumnChunk:
    """One column of one row group."""

    path: str
    """its name, and those of its parts, joined by dots"""
    is_bytes: bool
    """whether it holds texts or bytes"""
    has_dictionary: bool
    """whether one value may stand for many rows"""
    unpacked: int
    """bytes"""
    packed: int
    start: int
    """where in the file"""

    @property
    def column(self) -> str:
        """The name of the whole column."""
        return self.path.partition(".")[0]


_KNOWN: WeakKeyDictionary[pq.ParquetFile, list[list[ColumnChunk]]] = WeakKeyDictionary()


def column_chunks(file: pq.ParquetFile, group: int) -> list[ColumnChunk]:
    """The columns of a row group, as the footer has them.

    Raises
    ------
    pyarrow.ArrowInvalid
        The footer lacks what it must have.
    """
    if file not in _KNOWN:
        footer = _Compact(file.metadata.__reduce__()[1][0].to_pybytes()).struct()
        try:
            _KNOWN[file] = [[_chunk(each[ABOUT]) for each in row_group[COLUMNS]] for row_group in footer[ROW_GROUPS]]
        except KeyError as error:
            raise pa.ArrowInvalid(f"its footer lacks the field {error} of a column") from None
    return _KNOWN[file][group]


def _chunk(about: dict[int, Any]) -> ColumnChunk:
    return ColumnChunk(
        path=b".".join(about[PATH]).decode(errors="replace"),
        is_bytes=about[KIND] == BYTE_ARRAY,
        has_dictionary=not DICTIONARIES.isdisjoint(about[ENCODINGS]),
        unpacked=about[UNPACKED_SIZE],
        packed=about[PACKED_SIZE],
        start=about.get(DICTIONARY_AT) or about[VALUES_AT],
    )


class _Compact:
    """Values in Thrift's compact form, as Arrow has just written them: whole, and in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def struct(self) -> dict[int, Any]:
        """The fields of a struct, by their numbers."""
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._whole()
            kind = head & 15
            found[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind)
        return found

    def _value(self, kind: int) -> Any:
        read: dict[int, Callable[[], Any]] = {
            TRUE: self._byte,
            FALSE: self._byte,
            BYTE: self._byte,
            DOUBLE: lambda: self._take(8),
            BINARY: lambda: self._take(self._number()),
            LIST: self._list,
            SET: self._list,
            MAP: self._map,
            STRUCT: self.struct,
        }
        return read.get(kind, self._whole)()

    def _list(self) -> list[Any]:
        head = self._byte()
        size = self._number() if head >> 4 == 15 else head >> 4
        return [self._value(head & 15) for _ in range(size)]

    def _map(self) -> list[Any]:
        size = self._number()
        kinds = self._byte() if size else 0
        return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(size)]

    def _whole(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)

    def _number(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def _byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def _take(self, length: int) -> bytes:
        self.place += length
        return self.data[self.place - length : self.place]
