"""Files packed with gzip or bzip2, unpacked under a bound: what would be larger is refused before it is there."""

from __future__ import annotations

import bz2
import zlib
from typing import Any

from skythaw.data.image_form import LARGEST

GZIP, BZIP2 = b"\x1f\x8b\x08", b"BZh"
UNPACKED = 4 * LARGEST + (1 << 20)
"""bytes: the largest image of floats, and headers"""
FIRST = 2880
"""bytes that are looked at before the rest is unpacked"""


def is_packed(data: bytes) -> bool:
    """Whether a file begins as gzip or bzip2 does."""
    return data.startswith((GZIP, BZIP2))


def first_bytes(data: bytes) -> bytes:
    """The first bytes in a packed file, or in what there is of one; raises `ValueError`."""
    try:
        return _stream(data).decompress(data[: 1 << 20], FIRST)
    except (zlib.error, OSError, EOFError) as error:
        raise ValueError(f"it can't be unpacked: {error}") from None


def unpack(data: bytes, most: int = UNPACKED) -> bytes:
    """What is in a packed file, all its streams one after another.

    Raises
    ------
    ValueError
        It would be more than `most` bytes; it is cut off or damaged.
    """
    parts, size = [], 0
    try:
        while data:
            stream = _stream(data)
            parts.append(stream.decompress(data, most + 1 - size))
            size += len(parts[-1])
            if size > most:
                raise ValueError(f"it unpacks to more than {most} bytes, which is too large for a cutout")
            if not stream.eof:
                raise ValueError("it is truncated: the packed stream has no end")
            data = stream.unused_data
            if not is_packed(data):
                break
    except (zlib.error, OSError, EOFError) as error:
        raise ValueError(f"it can't be unpacked: {error}") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _stream(data: bytes) -> Any:
    return bz2.BZ2Decompressor() if data.startswith(BZIP2) else zlib.decompressobj(wbits=31)
