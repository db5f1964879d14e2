"""Plain JPEG files, decoded by simplejpeg (extra `fast`) where that gives exactly what Pillow gives, and sooner.

Both use libjpeg-turbo. What is not plain, or what simplejpeg so much as warns of, is left to Pillow, which decides what
becomes of it: so there is one answer to every file, with and without simplejpeg.
"""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType

import numpy as np
from PIL import features

from skythaw.data.image_form import LARGEST

BEGIN = re.compile(rb"\xff\xd8\xff\xe0\x00\x10JFIF\0.{9}", re.DOTALL)
FRAME = re.compile(rb"\x08(..)(..)(?:\x01\x01\x11.|\x03\x01[\x11\x21\x22].\x02\x11.\x03\x11.)", re.DOTALL)
"""bits, height, width; one component, or three; of each its number, how often it is sampled in x and y, its table"""
FRAMES = (0xC0, 0xC2)
"""baseline; progressive with Huffman coding"""
PASSED = (0xC4, 0xDB, 0xDD, 0xFE)
"""segments that Pillow and libjpeg read alike: tables, restart interval, comment"""
SCAN = 0xDA


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a plain JPEG file, from its header; None if it is something else.

    Plain is: JFIF; baseline or progressive, 8 bits; grey, or YCbCr with colours sampled at every pixel, every second
    in x, or every second in x and y; nothing of other applications (Exif, ICC, Adobe) before the image.
    """
    if not BEGIN.match(data):
        return None
    at, size = 20, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, end = data[at + 1], at + 2 + (data[at + 2] << 8 | data[at + 3])
        if marker == SCAN:
            return size
        if marker in FRAMES and size is None and (found := FRAME.fullmatch(data, at + 4, end)):
            height, width = (int.from_bytes(each, "big") for each in found.groups())
            size = height, width
        elif marker not in PASSED:
            return None
        at = end
    return None


def decode_plain(data: bytes, size: tuple[int, int]) -> np.ndarray | None:
    """The pixels [y, x, (red, green, blue)] of a file of that `plain_size`, uint8; None where Pillow must judge."""
    decoder = find_decoder()
    if decoder is None or not 0 < size[0] * size[1] <= LARGEST:
        return None
    try:
        pixels: np.ndarray = decoder.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
    except ValueError:
        return None
    return pixels


@cache
def find_decoder() -> ModuleType | None:
    """simplejpeg, if it is installed and Pillow decodes by the same library."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg if features.check_feature("libjpeg_turbo") else None
