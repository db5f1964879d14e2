"""What the footer of a Parquet file says of its columns, without Arrow's own objects for them.

Arrow ends the process where a footer's statistics of sizes are damaged and such an object is asked for: its exception
is caught by nobody. So the footer is taken as bytes, in the compact form of Thrift, and read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any
from weakref import WeakKeyDictionary

import pyarrow as pa
import pyarrow.parquet as pq

LARGEST = 16 << 20
"""bytes of a footer, of about 150,000 columns of row groups; reading it takes ten times as much memory"""
ROW_GROUPS, COLUMNS, ABOUT = 4, 1, 3
"""numbers of the fields in Parquet's parquet.thrift: of the file, of a row group, of a column chunk"""
KIND, ENCODINGS, PATH, UNPACKED_SIZE, PACKED_SIZE, VALUES_AT, DICTIONARY_AT = 1, 2, 3, 6, 7, 9, 11
"""of a chunk's own description"""
Wanted = Mapping[int, "Wanted"]
"""by the numbers of a struct's fields, what is wanted of the structs in them"""
OF_CHUNK: Wanted = {each: {} for each in (KIND, ENCODINGS, PATH, UNPACKED_SIZE, PACKED_SIZE, VALUES_AT, DICTIONARY_AT)}
OF_FOOTER: Wanted = {ROW_GROUPS: {COLUMNS: {ABOUT: OF_CHUNK}}}
DICTIONARIES = {2, 8}
"""encodings in which one value may stand for many rows"""
BYTE_ARRAY = 6
TRUE, FALSE, BYTE, INTEGER, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 4, 7, 8, 9, 10, 11, 12
"""kinds of values in Thrift's compact form; 5 and 6 are longer integers, written alike"""
MAGIC = 4
"""bytes before the footer that Arrow writes for metadata alone"""


@dataclass(frozen=True, slots=True)
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
        The footer lacks what it must have, or is far too large.
    """
    if file not in _KNOWN:
        if (size := file.metadata.serialized_size) > LARGEST:
            raise pa.ArrowInvalid(
                f"its footer has {size:,} bytes; at most {LARGEST:,} are read: write it with fewer, larger row groups"
            )
        written = pa.BufferOutputStream()
        file.metadata.write_metadata_file(written)  # anew, so it is well-formed, however damaged the file is
        footer, _ = _struct(written.getvalue().to_pybytes(), MAGIC, OF_FOOTER)
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


def _struct(data: bytes, place: int, wanted: Wanted) -> tuple[dict[int, Any], int]:
    """What is wanted of a struct of Thrift's compact form, by the numbers of its fields; and where the struct ends."""
    found: dict[int, Any] = {}
    number = 0
    while head := data[place]:
        number, place = (number + (head >> 4), place + 1) if head >> 4 else _value(data, place + 1, INTEGER, {})
        kind = head & 15
        if kind not in (TRUE, FALSE):  # their kind is their value; none of these is wanted
            value, place = _value(data, place, kind, wanted.get(number, {}))
            if number in wanted:
                found[number] = value
    return found, place + 1


def _value(data: bytes, place: int, kind: int, wanted: Wanted) -> tuple[Any, int]:
    if kind == STRUCT:
        return _struct(data, place, wanted)
    if kind in (BINARY, DOUBLE):
        length, place = _number(data, place) if kind == BINARY else (8, place)
        return data[place : place + length], place + length
    if kind in (LIST, SET):
        head = data[place]
        size, place = _number(data, place + 1) if head >> 4 == 15 else (head >> 4, place + 1)
        return _several(data, place, repeat((head & 15,), size), wanted)
    if kind == MAP:
        size, place = _number(data, place)
        kinds = (data[place] >> 4, data[place] & 15) if size else ()
        return _several(data, place + bool(size), repeat(kinds, size), wanted)
    if kind in (TRUE, FALSE, BYTE):  # of a list
        return data[place], place + 1
    number, place = _number(data, place)
    return (number >> 1) ^ -(number & 1), place


def _several(data: bytes, place: int, kinds: Iterable[Sequence[int]], wanted: Wanted) -> tuple[list[Any], int]:
    """The elements of a list, or keys and values of a map, one after another."""
    found = []
    for kind in chain.from_iterable(kinds):
        value, place = _value(data, place, kind, wanted)
        found.append(value)
    return found, place


def _number(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while (byte := data[place]) > 127:
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
    return number | byte << shift, place + 1
