"""FITS images: read whole or refused with a reason, whatever the bytes; written so that equal images are equal bytes.

What is wrong is a `ValueError` (or whatever astropy raises) whose text says why.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skythaw.data.band_axis import bands_are_last, fill_masked
from skythaw.data.fits_choice import choose_parts, listed, names_of
from skythaw.data.fits_parts import FitsPart, image_parts, quiet, values_of
from skythaw.data.image_form import DEFAULT, LARGEST, MOST_BANDS, Form, OpenImage, ReadChoice

MAGIC = b"SIMPLE  ="


@dataclass(frozen=True)
class _Layout:
    """Where bands, rows and columns are in one part."""

    size: tuple[int, int]
    """height and width"""
    bands: int
    last: bool
    """the bands are the fastest axis"""
    alone: tuple[int, ...]
    """the axes of length 1 that are left out, NAXIS3 and on"""


def open_fits(data: bytes, choice: ReadChoice = DEFAULT) -> OpenImage:
    """The image of a FITS file, its headers read.

    Which parts are the image, `skythaw.data.fits_choice.choose_parts` says. Axes of length 1 after the second are left
    out. Bands are named by ``BANDS`` (text, a letter each), or by ``BAND0``, ``BAND1``, ...; in extensions of their own
    by the names or filters of these; else by their number.

    Rows of FITS count from the bottom, ours from the top: they are turned over, so that north stays up. Scaled whole
    numbers are scaled. NaN and infinite values are masked pixels, and become 0 where they are few.

    Raises
    ------
    ValueError
        It is truncated, or has no such image; or, when it is loaded, differs from its checksum, or has more masked
        pixels in a band than may be.
    """
    with quiet():
        parts = image_parts(data)
        found, notes = choose_parts(parts, choice.ext)
        if not any(len(part.axes) > 1 for part in found):
            there = f"; there is one of {len(found[0].axes)} axes" if found else ""
            raise ValueError(f"it holds no image of 2 or 3 axes{there}")
        layouts = [_layout(part) for part in found]
        form = _form(found, layouts, bool(choice.ext))
    if any(layout.last for layout in layouts):
        notes += ("bands moved from the last axis to the first",)
    if any(layout.alone for layout in layouts):
        notes += ("axes of length 1 left out",)

    def load() -> np.ndarray:
        with np.errstate(over="ignore"):
            cubes = [_cube(data, part, each) for part, each in zip(found, layouts, strict=True)]
        cube = cubes[0] if len(cubes) == 1 else np.concatenate(cubes)
        return np.ascontiguousarray(np.moveaxis(fill_masked(cube, form.bands, choice.max_nan)[:, ::-1], 0, -1))

    return OpenImage(form, load, notes)


def probe_fits(data: bytes) -> Form:
    """What the headers say of the image of a FITS file: see `open_fits`."""
    return open_fits(data).form


def decode_fits(data: bytes) -> np.ndarray:
    """The image of a FITS file, float32 [y, x, band]: see `open_fits`."""
    return open_fits(data).load()


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


def _layout(part: FitsPart) -> _Layout:
    """Raises `ValueError` for axes that can't be those of a cutout."""
    axes = part.axes
    alone: tuple[int, ...] = ()
    if len(axes) > 3:
        alone = tuple(at for at in range(2, len(axes)) if axes[at] == 1)
        axes = tuple(axis for at, axis in enumerate(axes) if at not in alone)
    if len(axes) not in (2, 3):
        shape = " x ".join(map(str, part.axes))
        raise ValueError(f"it holds no image of 2 or 3 axes; there is one of {len(part.axes)} axes, {shape}")
    if len(axes) == 3 and bands_are_last(axes[::-1]):
        return _Layout((axes[2], axes[1]), axes[0], True, alone)
    return _Layout((axes[1], axes[0]), axes[2] if len(axes) == 3 else 1, False, alone)


def _cube(data: bytes, part: FitsPart, layout: _Layout) -> np.ndarray:
    """The values of a part, float32 [band, y, x]."""
    values = values_of(data, part).astype(np.float32)
    if layout.last:
        return np.moveaxis(values.reshape(*layout.size, layout.bands), -1, 0)
    return values.reshape(layout.bands, *layout.size)


def _form(parts: Sequence[FitsPart], layouts: Sequence[_Layout], chosen: bool) -> Form:
    """Size and bands, if they can be those of a cutout."""
    height, width = layouts[0].size
    count = sum(layout.bands for layout in layouts)
    if any(layout.size != (height, width) for layout in layouts):
        raise ValueError(f"its extensions differ in size: {listed(parts)}")
    if height * width * count > LARGEST or count > MOST_BANDS:
        raise ValueError(f"{width} x {height} pixels in {count} bands are too many for a cutout")
    bands = _names(parts[0].header, count) if len(parts) == 1 else _extension_names(parts, layouts)
    if chosen and bands == ("0",):
        bands = (names_of(parts)[0] or "0",)
    if len(bands) != count or len(set(bands)) < count or not all(bands):
        raise ValueError(f"its header names the bands {', '.join(bands)}; {count} different names are needed")
    return Form((height, width), bands, "float32")


def _extension_names(parts: Sequence[FitsPart], layouts: Sequence[_Layout]) -> tuple[str, ...]:
    """A name for each extension of one band; the names or numbers of the extensions where their bands are not known."""
    if any(layout.bands > 1 for layout in layouts):
        raise ValueError(f"only extensions of one band each can be put together: {listed(parts)}")
    bands = names_of(parts)
    if all(bands) and len(set(bands)) == len(bands):
        return bands
    names = tuple(part.name or str(part.number) for part in parts)
    return names if len(set(names)) == len(names) else tuple(str(part.number) for part in parts)


def _names(header: Any, count: int) -> tuple[str, ...]:
    if "BANDS" in header:
        return tuple(str(header["BANDS"]).strip())
    keywords = [f"BAND{i}" for i in range(count)]
    if all(keyword in header for keyword in keywords):
        return tuple(str(header[keyword]).strip() for keyword in keywords)
    return tuple(str(i) for i in range(count))
