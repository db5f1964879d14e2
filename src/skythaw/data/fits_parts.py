"""The parts of a FITS file: walked header by header, and every announced size is held against the bytes that are there.

astropy reads headers, and the images that were found. Tiles that are compressed inside the file are looked at one by
one first: none may unpack to more than its share of an image that is small enough.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np

from skythaw.data.image_form import LARGEST
from skythaw.data.unpack import unpack

BLOCK = 2880
"""bytes: headers and data come in whole blocks"""
LONGEST_HEADER = 100
"""blocks"""
MOST_PARTS = 100
"""of a file, in which images are looked for"""
MOST_TILES = 1 << 16
TILES = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "NOCOMPRESS")
HCOMPRESS = b"\xdd\x99"
SIZES = {"B": 1, "I": 2, "J": 4, "E": 4, "D": 8, "K": 8}
"""bytes of an element of a column, by the letter of its type"""


@dataclass(frozen=True)
class FitsPart:
    """One image of a file, and where its header and data are."""

    number: int
    """of the part: 0 is the primary one"""
    header: Any
    axes: tuple[int, ...]
    """NAXIS1, NAXIS2, ...: x, y, band"""
    where: slice
    tiled: bool
    """compressed inside the file"""

    @property
    def name(self) -> str:
        return str(self.header.get("EXTNAME", "")).strip()

    @property
    def title(self) -> str:
        """What to call it in a message: its number, its name, its size."""
        named = f" {self.name!r}" if self.name else ""
        return f"{self.number}{named} ({' x '.join(map(str, self.axes))})"


def image_parts(data: bytes) -> list[FitsPart]:
    """Every part that holds an image of one or more axes; raises `ValueError` for a file that is not whole."""
    from astropy.io.fits import Header

    found, start = [], 0
    for number in range(MOST_PARTS):
        if start >= len(data):
            break
        file = io.BytesIO(data[start : start + LONGEST_HEADER * BLOCK])
        header = Header.fromfile(file)
        axes = _axes(header, "NAXIS")
        values = count_of(header, "GCOUNT", 1) * (count_of(header, "PCOUNT", 0) + prod(axes)) if axes else 0
        size = values * (abs(int(header["BITPIX"])) // 8)
        end = start + file.tell() + -(-size // BLOCK) * BLOCK
        if end > len(data):
            raise ValueError(f"it is truncated: its header announces {end} bytes, there are {len(data)}")
        kind = "IMAGE" if start == 0 else str(header["XTENSION"]).strip()
        tiled = kind == "BINTABLE" and header.get("ZIMAGE") is True
        shown = _axes(header, "ZNAXIS") if tiled else axes
        if shown and all(shown) and (tiled or kind == "IMAGE"):
            found.append(FitsPart(number, header, shown, slice(start, end), tiled))
        start = end
    return found


def values_of(data: bytes, part: FitsPart) -> np.ndarray:
    """The numbers of a part, its last axis first; raises `ValueError` where they differ from their checksum."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    with quiet():
        warnings.filterwarnings("error", "(Checksum|Datasum) verification failed")
        try:
            if not part.tiled:
                kind = fits.ImageHDU if part.where.start else fits.PrimaryHDU
                return kind.fromstring(data[part.where], checksum=True).data
            require_tiles(data, part)
            whole = _empty_primary() + data[part.where]
            with fits.open(io.BytesIO(whole), checksum=True) as hdus:
                return hdus[1].data
        except AstropyUserWarning:
            raise ValueError("its bytes differ from the checksum in its header") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of a lenient reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def count_of(header: Any, keyword: str, default: int | None = None) -> int:
    """A whole number, not below 0, of a header."""
    value = header.get(keyword, default)
    if type(value) is not int or value < 0:
        raise ValueError(f"{keyword} = {value!r} in its header should be a whole number")
    return value


def require_tiles(data: bytes, part: FitsPart) -> None:
    """Raise `ValueError` unless every tile of a compressed image is inside the file, and unpacks to its size at most.

    The decoder of HCOMPRESS believes the size that a tile tells, and that of gzip has no bound: both are checked here.
    """
    header, how = part.header, str(part.header.get("ZCMPTYPE")).strip()
    if how not in TILES:
        raise ValueError(f"its image is compressed inside the file with {how}, which is not read: decompress it")
    sides = [count_of(header, f"ZTILE{n + 1}", 1 if n else axis) for n, axis in enumerate(part.axes)]
    if not all(sides) or prod(sides) > LARGEST:
        raise ValueError(f"its tiles of {' x '.join(map(str, sides))} pixels are no tiles of a cutout")
    rows, tiles = (
        count_of(header, "NAXIS2"),
        prod(ceil(axis / side) for axis, side in zip(part.axes, sides, strict=True)),
    )
    if rows != tiles or rows > MOST_TILES:
        raise ValueError(f"it has {rows} tiles; its image takes {tiles}, and at most {MOST_TILES} are read")
    heap = 0
    for row, name, (length, offset) in _tile_places(data, part):
        piece = data[offset : offset + length]
        heap += length
        if len(piece) < length or heap > part.where.stop - part.where.start:
            raise ValueError("its tiles lie outside of the file, or on one another")
        packed = name == "GZIP_COMPRESSED_DATA" or (name == "COMPRESSED_DATA" and how.startswith("GZIP"))
        if length and packed:
            unpack(piece, 8 * prod(sides))
        elif name == "COMPRESSED_DATA" and length:
            _require_stream(how, piece, _pixels_of(row, part.axes, sides))


def _pixels_of(tile: int, axes: Sequence[int], sides: Sequence[int]) -> int:
    """How many pixels a tile has; those at the far edge of the image are smaller."""
    pixels = 1
    for axis, side in zip(axes, sides, strict=True):
        tile, place = divmod(tile, ceil(axis / side))
        pixels *= min(side, axis - place * side)
    return pixels


def _require_stream(how: str, piece: bytes, pixels: int) -> None:
    if how.startswith("RICE") and len(piece) < 2:
        raise ValueError("a tile is too short")
    if how == "HCOMPRESS_1":
        width, height = (int.from_bytes(piece[at : at + 4], "big", signed=True) for at in (2, 6))
        if not piece.startswith(HCOMPRESS) or len(piece) < 23 or min(width, height) < 1 or width * height != pixels:
            raise ValueError(f"a tile of {width} x {height} pixels is no tile of its image")


def _tile_places(data: bytes, part: FitsPart) -> Iterator[tuple[int, str, tuple[int, int]]]:
    """Of every piece of the table's heap: its tile, its column, and its length and place in the file, in bytes."""
    header = part.header
    width, rows = count_of(header, "NAXIS1"), count_of(header, "NAXIS2")
    begin = part.where.start + -(-_header_bytes(data, part) // BLOCK) * BLOCK
    heap = begin + count_of(header, "THEAP", width * rows)
    at = 0
    for n in range(1, count_of(header, "TFIELDS") + 1):
        form = re.fullmatch(r"\s*(\d*)([LXBIJKAEDCMPQ])([A-Z]?)(?:\(\d*\))?\s*", str(header.get(f"TFORM{n}")))
        if form is None:
            raise ValueError(f"TFORM{n} = {header.get(f'TFORM{n}')!r} in its header is no type of a column")
        times, letter = int(form[1] or 1), form[2]
        if letter not in "PQ":
            at += times * SIZES.get(letter, 1)
            continue
        kind = np.dtype(">i4" if letter == "P" else ">i8")
        size = SIZES.get(form[3], 16)
        if times and at + 2 * kind.itemsize > width:
            raise ValueError("its table of tiles is torn")
        for row in range(rows if times else 0):
            length, offset = np.frombuffer(data, kind, 2, begin + row * width + at).tolist()
            if length < 0 or offset < 0:
                raise ValueError("its tiles lie outside of the file")
            yield row, str(header.get(f"TTYPE{n}")).strip(), (length * size, heap + offset)
        at += times * 2 * kind.itemsize


def _header_bytes(data: bytes, part: FitsPart) -> int:
    from astropy.io.fits import Header

    file = io.BytesIO(data[part.where.start : part.where.start + LONGEST_HEADER * BLOCK])
    Header.fromfile(file)
    return file.tell()


def _axes(header: Any, keyword: str) -> tuple[int, ...]:
    return tuple(count_of(header, f"{keyword}{n + 1}") for n in range(count_of(header, keyword)))


def _empty_primary() -> bytes:
    cards = (
        "SIMPLE  =                    T",
        "BITPIX  =                    8",
        "NAXIS   =                    0",
        "END",
    )
    return "".join(card.ljust(80) for card in cards).ljust(BLOCK).encode()
