"""FITS images: read whole or refused with a reason, whatever the bytes; written so that equal images are equal bytes.

The file is walked here, header by header, and every announced size is held against the bytes that are there; astropy
reads headers, and the one image that was found: never a compressed file, never more than is there. What is wrong is a
`ValueError` (or whatever astropy raises) whose text says why.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from skythaw.data.image_form import LARGEST, Form

MAGIC = b"SIMPLE  ="
BLOCK = 2880
"""bytes: headers and data come in whole blocks"""
LONGEST_HEADER = 100
"""blocks"""
MOST_PARTS = 100
"""of a file, in which an image is looked for"""
MOST_BANDS = 100
MASKED = 0.05
"""share of a band's pixels that may be NaN or infinite; they become 0"""


@dataclass(frozen=True)
class _Part:
    """One header, and where it and its data are in the file."""

    header: Any
    axes: tuple[int, ...]
    """NAXIS1, NAXIS2, ...: x, y, band"""
    where: slice

    @property
    def is_image(self) -> bool:
        return all(self.axes) and (self.where.start == 0 or self.header["XTENSION"].strip() == "IMAGE")


def probe_fits(data: bytes) -> Form:
    """What the header says of the first image of 2 or 3 axes.

    Bands are named by ``BANDS`` (text, a letter each), or by ``BAND0``, ``BAND1``, ...; else by their number.
    """
    return _find(data)[1]


def decode_fits(data: bytes) -> np.ndarray:
    """The first image of 2 or 3 axes (x, y, band: as an array [band, y, x]) of a FITS file.

    Rows of FITS count from the bottom, ours from the top: they are turned over, so that north stays up. Scaled whole
    numbers are scaled. NaN and infinite values are masked pixels, and become 0 where they are few.

    Returns
    -------
    numpy.ndarray
        float32 [y, x, band]

    Raises
    ------
    ValueError
        It is truncated, differs from its checksum, has no such image, or more masked pixels in a band than `MASKED`.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    part, form = _find(data)
    with _quiet():
        warnings.filterwarnings("error", "(Checksum|Datasum) verification failed")
        try:
            kind = fits.ImageHDU if part.where.start else fits.PrimaryHDU
            cube = kind.fromstring(data[part.where], checksum=True).data
        except AstropyUserWarning:
            raise ValueError("its bytes differ from the checksum in its header") from None
    with np.errstate(over="ignore"):
        cube = cube.astype(np.float32).reshape(-1, *form.size)
    return np.ascontiguousarray(np.moveaxis(_filled(cube, form.bands)[:, ::-1], 0, -1))


def encode_fits(pixels: np.ndarray, bands: Sequence[str], header: Mapping[str, str | float] | None = None) -> bytes:
    """A FITS file of an image, with checksums and no date: `decode_fits` gives the image back.

    Parameters
    ----------
    pixels
        float32 [y, x, band], rows from the top
    bands
        a name for each band
    header
        further keywords, such as ``{"BUNIT": "nanomaggy"}``
    """
    from astropy.io import fits

    hdu = fits.PrimaryHDU(np.moveaxis(pixels, -1, 0)[:, ::-1].astype(">f4"))
    letters = all(len(band) == 1 for band in bands)
    names = {"BANDS": "".join(bands)} if letters else {f"BAND{i}": band for i, band in enumerate(bands)}
    for keyword, value in {**names, **(header or {})}.items():
        hdu.header[keyword] = value
    hdu.add_datasum("of the data")
    hdu.add_checksum("of header and data", override_datasum=True)
    file = io.BytesIO()
    fits.HDUList([hdu]).writeto(file)
    return file.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of a lenient reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _find(data: bytes) -> tuple[_Part, Form]:
    """The first part with an image of 2 or 3 axes, and what its header says of it."""
    others = []
    with _quiet():
        for part in _parts(data):
            if part.is_image and len(part.axes) in (2, 3):
                return part, _form(part)
            if part.header.get("ZIMAGE") is True:
                raise ValueError("its image is compressed inside the file: decompress it (funpack)")
            if part.is_image and part.axes:
                others.append(len(part.axes))
    found = f"; there is one of {others[0]} axes" if others else ""
    raise ValueError(f"it holds no image of 2 or 3 axes{found}")


def _parts(data: bytes) -> Iterator[_Part]:
    from astropy.io.fits import Header

    start = 0
    for _ in range(MOST_PARTS):
        if start >= len(data):
            return
        file = io.BytesIO(data[start : start + LONGEST_HEADER * BLOCK])
        header = Header.fromfile(file)
        axes = tuple(_count(header, f"NAXIS{n + 1}") for n in range(_count(header, "NAXIS")))
        values = _count(header, "GCOUNT", 1) * (_count(header, "PCOUNT", 0) + prod(axes)) if axes else 0
        size = values * (abs(int(header["BITPIX"])) // 8)
        end = start + file.tell() + -(-size // BLOCK) * BLOCK
        if end > len(data):
            raise ValueError(f"it is truncated: its header announces {end} bytes, there are {len(data)}")
        yield _Part(header, axes, slice(start, end))
        start = end


def _count(header: Any, keyword: str, default: int | None = None) -> int:
    value = header.get(keyword, default)
    if type(value) is not int or value < 0:
        raise ValueError(f"{keyword} = {value!r} in its header should be a whole number")
    return value


def _form(part: _Part) -> Form:
    """Size and bands, if they can be those of a cutout."""
    width, height, *further = part.axes
    count = further[0] if further else 1
    if prod(part.axes) > LARGEST or count > MOST_BANDS:
        raise ValueError(f"{width} x {height} pixels in {count} bands are too many for a cutout")
    bands = _names(part.header, count)
    if len(bands) != count or len(set(bands)) < count or not all(bands):
        raise ValueError(f"its header names the bands {', '.join(bands)}; {count} different names are needed")
    return Form((height, width), bands, "float32")


def _names(header: Any, count: int) -> tuple[str, ...]:
    if "BANDS" in header:
        return tuple(str(header["BANDS"]).strip())
    keywords = [f"BAND{i}" for i in range(count)]
    if all(keyword in header for keyword in keywords):
        return tuple(str(header[keyword]).strip() for keyword in keywords)
    return tuple(str(i) for i in range(count))


def _filled(cube: np.ndarray, bands: Sequence[str]) -> np.ndarray:
    """The cube [band, y, x] with 0 in place of what is not finite, if that is little of every band."""
    masked = ~np.isfinite(cube)
    shares = masked.mean((1, 2))
    worst = int(shares.argmax())
    if shares[worst] > MASKED:
        share = f"{100 * shares[worst]:.0f} % of band {bands[worst]!r}"
        raise ValueError(f"{share} are NaN or infinite; at most {100 * MASKED:g} % may be")
    cube[masked] = 0
    return cube
