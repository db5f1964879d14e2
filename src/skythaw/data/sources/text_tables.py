"""Tables that are text: in UTF-8, UTF-16 or Windows' cp1252, compressed by gzip or not, with any usual separator.

The standard library reads them row by row, every cell as text: astropy's `Table.read` would turn ids into numbers, and
names no line where a table is broken.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from skythaw.data.sources.commented_header import commented_header
from skythaw.errors import DataError

SEPARATORS = ",;\t|"
GZIP = b"\x1f\x8b"
LARGEST_UNPACKED = 512 << 20
"""bytes of a compressed table, unpacked"""
PACKED, ALWAYS = 50, 64 << 20
"""A compressed table that unpacks to more than so many times its size is refused, unless it is small."""
MOST_ROWS = 10_000_000
"""of a table of labels, which is held in memory"""
LONGEST_LINE = 1 << 20
"""characters"""
MOST_COLUMNS = 10_000
CHUNK = 1 << 20
NOT_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""control characters, which no table in a code page of one byte a letter holds"""
ENCODINGS = {"utf-8-sig": "UTF-8", "cp1252": "cp1252 (Windows)"}
Opened = Callable[[], BinaryIO]
"""opens the bytes of a table anew"""


@dataclass(frozen=True)
class PlainTable:
    """The cells of a text table, without surrounding blanks."""

    header: list[str]
    rows: list[list[str]]
    encoding: str
    """in words"""
    separator: str


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a text table, as text without surrounding blanks; empty lines are left out."""
    table = read_text_table(path)
    return table.header, table.rows


def read_text_table(path: Path) -> PlainTable:
    """Read a text table with a header. Leading lines that begin with ``#`` (as SkyServer writes) are skipped, unless
    the last of them is the header (see `commented_header`).

    Raises
    ------
    DataError
        It can't be read, is no text in an encoding that is known, has no header, two columns of one name, or a row
        of another length; or it is a compressed file that unpacks to more than `LARGEST_UNPACKED` bytes.
    """
    try:
        opened = opening(path)
        encoding = encoding_of(opened)
        with opened() as file, io.TextIOWrapper(file, encoding, newline="") as text:
            header, rows, separator = _cells(path, text)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"can't read the labels {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zlib.error) as error:
        raise DataError(f"can't read the labels {path}: {error}") from None
    return PlainTable(header, rows, said(encoding), separator)


def opening(path: Path) -> Opened:
    """What opens a file, and unpacks it where it was compressed by gzip; the bytes that it gives are bounded.

    Raises
    ------
    ValueError
        It is a pipe or a device, which has no end and can't be read twice.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("it is a pipe or a device, not a file; write the table to a file first")

    def opened() -> BinaryIO:
        file = path.open("rb")
        packed = file.read(2) == GZIP
        file.seek(0)
        return io.BufferedReader(_Unpacked(file), CHUNK) if packed else file

    return opened


def encoding_of(opened: Opened) -> str:
    """The encoding of a text, as Python calls it.

    Raises
    ------
    ValueError
        It is no text in UTF-8, UTF-16 or cp1252.
    """
    with opened() as file:
        start = file.read(1000)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) >= 4 and (half := len(start) // 2):
        low, high = start[::2].count(0), start[1::2].count(0)
        if max(low, high) > 0.4 * half and min(low, high) < 0.1 * half:
            return "utf-16-le" if high > low else "utf-16-be"
    try:
        _decode(opened, "utf-8-sig")
    except UnicodeDecodeError as error:
        if (odd := _decode(opened, "cp1252", refuse=NOT_TEXT)) is None:
            return "cp1252"
        raise ValueError(
            f"it is no text in UTF-8 ({error.reason}), nor in UTF-16 or cp1252 ({odd}); save it as CSV in UTF-8"
        ) from None
    return "utf-8-sig"


def said(encoding: str) -> str:
    """An encoding in words."""
    return ENCODINGS.get(encoding, "UTF-16")


def separator_of(line: str) -> str:
    """What separates the names in a header: the separator that is most often outside quotes.

    Raises
    ------
    ValueError
        Blanks do.
    """
    plain = re.sub(r'"[^"]*"', "", line)
    if " " in plain.strip() and not any(each in plain for each in SEPARATORS):
        raise ValueError(
            f"its columns ({plain.strip()[:40]!r}) are separated by blanks; save it with commas, as "
            "astropy.table.Table.read(FILE, format='ascii').write('table.csv') does"
        )
    return max(SEPARATORS, key=plain.count)


class _Unpacked(io.RawIOBase):
    """The content of a gzip file; more of it than a table may have is an error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._gzip, self._read = file, gzip.GzipFile(fileobj=file), 0
        self._most = min(LARGEST_UNPACKED, max(ALWAYS, PACKED * file.seek(0, io.SEEK_END)))
        file.seek(0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._gzip.read(min(len(buffer), CHUNK))
        self._read += len(data)
        if self._read > self._most:
            raise ValueError(f"it unpacks to more than {self._most >> 20} MiB")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _decode(opened: Opened, encoding: str, refuse: re.Pattern[bytes] | None = None) -> str | None:
    """Decode a text in parts; returns what is odd if it can't be, or raises it where nothing is to be refused."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with opened() as file:
        while chunk := file.read(CHUNK):
            if refuse and (bad := refuse.search(chunk)):
                return f"it has the byte {bad[0][0]:#04x}"
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                if refuse is None:
                    raise
                return f"it has the byte {chunk[error.start]:#04x}"
        decoder.decode(b"", final=True)
    return None


def _cells(path: Path, text: io.TextIOWrapper) -> tuple[list[str], list[list[str]], str]:
    """Header, rows and separator. An error names the line."""
    lines = _lines(path, text)
    skip, first, comment = 0, next(lines, ""), ""
    while first and (first.startswith("#") or not first.strip()):
        comment = first if first.startswith("#") else comment
        skip, first = skip + 1, next(lines, "")
    separator = separator_of(first)
    named = commented_header(comment, first, separator)
    reader = csv.reader(chain([first], lines), delimiter=separator, strict=True)
    with _blaming_line(path, reader, skip):
        header = named or next(([cell.strip() for cell in row] for row in reader if any(row)), [])
    _check_header(path, header)
    rows: list[list[str]] = []
    with _blaming_line(path, reader, skip):
        for row in reader:
            if any(row):
                if len(row) != len(header):
                    line = reader.line_num + skip
                    raise DataError(f"{path}, line {line}: {len(row)} values for {len(header)} columns")
                rows.append([cell.strip() for cell in row])
                if len(rows) > MOST_ROWS:
                    raise DataError(f"{path} has more than {MOST_ROWS} rows, which are too many for a table of labels")
    return header, rows, separator


def _lines(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    number = 1
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise DataError(f"{path}, line {number}: it is longer than {LONGEST_LINE} characters; is this a table?")
        yield line
        number += 1


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise DataError(f"the labels {path} are empty; the first line should name the columns, such as file,label")
    if header[0].startswith("<"):
        raise DataError(f"the labels {path} begin like XML or a web page ({header[0][:20]!r}), not like a table")
    if len(header) > MOST_COLUMNS:
        raise DataError(f"{path} has {len(header)} columns; at most {MOST_COLUMNS} are read")
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise DataError(f"{path} has two columns called {twice[0]!r}")


@contextmanager
def _blaming_line(path: Path, reader: Any, skip: int) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num + skip}: {error}") from None
