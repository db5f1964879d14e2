"""TIFF images: of 8, 16, 32 or 64 bits, whole numbers or floats, in any number of bands or pages.

Pillow reads what is grey or of 8 bits. tifffile reads the rest, uncompressed or with deflate, and is given nothing that
would become larger than a cutout.
"""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from skythaw.data.band_axis import bands_are_last, fill_masked
from skythaw.data.image_form import DEFAULT, LARGEST, MOST_BANDS, RGB, Form, OpenImage, ReadChoice
from skythaw.data.pillow_image import SINGLE, careful, deep_colour, require_pixels, rgb

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_PAGES = 4096
GREY = ("I;16", "I;16B", "I", "F", "L", "1")
BITS, PLANAR, SAMPLES, KIND, REDUCED, TILE = 258, 284, 277, 339, 254, (322, 323)
COMPRESSION, PHOTOMETRIC, EXTRA = 259, 262, 338
"""numbers of tags"""
DEFLATE = (8, 32946)
ALPHA = (1, 2)


def open_tiff(data: bytes, choice: ReadChoice = DEFAULT) -> OpenImage:
    """The image of a TIFF file, its header read.

    One page of 8 bits becomes red, green and blue, as in a PNG file. All others are floats, with their values as they
    are: the bands are the samples of the only page, or the pages, which must be grey and of one size. They are called
    by their numbers, or red, green and blue.

    Raises
    ------
    ValueError
        It is damaged, or is none of these.
    """
    for library in ("PIL.TiffImagePlugin", "tifffile"):  # they would print what becomes the reason
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        with careful():
            image = Image.open(io.BytesIO(data), formats=("TIFF",))
            require_pixels(image.width, image.height, "TIFF")
            pages = _pages(image)
    except UnidentifiedImageError:
        return _by_tifffile(data, choice)
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    samples, bits = tags.get(SAMPLES, 1), max(tags.get(BITS, (1,)))
    grey = samples == 1 and image.mode in GREY
    if len(pages) > 1 and not grey:
        raise ValueError(f"it holds {len(pages)} pages in colour; one is needed")
    turned = data[:2] == b"MM" and tags.get(COMPRESSION, 1) != 1 and image.mode in ("I", "F")
    if turned or (bits <= 8 and not _is_plain(tags, samples)):  # Pillow gets signs, order of bytes or bands wrong
        return _by_tifffile(data, choice)
    return _stacked(image, pages, choice) if len(pages) > 1 else _one_page(image, data, samples, choice)


def _one_page(image: Any, data: bytes, samples: int, choice: ReadChoice) -> OpenImage:
    size, bits = (image.height, image.width), set(image.tag_v2.get(BITS, (1,)))
    if max(bits) <= 8:
        return OpenImage(Form(size), lambda: _eight_bits(image))
    if samples == 1:
        return OpenImage(Form(size, (SINGLE,), "float32"), lambda: _finite(_grey(image)[None], (SINGLE,), choice))
    if image.mode in ("RGB", "RGBA") and image.tag_v2.get(PLANAR, 1) == 1 and bits == {16}:
        require_pixels(image.width, image.height, "TIFF", 3)
        return OpenImage(Form(size, RGB, "float32"), lambda: deep_colour(image, data))
    return _by_tifffile(data, choice)


def _is_plain(tags: Any, samples: int) -> bool:
    """Whether Pillow makes of an image of 8 bits what its tags say: no signs, and no band is taken for opacity."""
    if set(tags.get(KIND, (1,))) != {1}:
        return False
    extra = tuple(tags.get(EXTRA, ()))
    colours = 4 if tags.get(PHOTOMETRIC) == 5 else 1 if tags.get(PHOTOMETRIC) in (0, 1, 3) else 3
    return samples == colours or (samples == colours + 1 and len(extra) == 1 and extra[0] in ALPHA)


def _pages(image: Any) -> list[int]:
    """The numbers of the pages that are no smaller copies of others."""
    found, size = [], image.size
    for page in range(MOST_PAGES + 1):
        try:
            image.seek(page)
        except EOFError:
            break
        tile = [image.tag_v2.get(tag, 1) for tag in TILE]
        if not all(type(side) is int for side in tile) or prod(tile) > LARGEST:
            raise ValueError("its tiles are larger than a cutout")
        if int(image.tag_v2.get(REDUCED, 0)) & 1:
            continue
        if image.size != size:
            raise ValueError(f"its pages differ in size: {size[0]} x {size[1]} and {image.size[0]} x {image.size[1]}")
        found.append(page)
    if len(found) > MOST_PAGES:
        raise ValueError(f"it has more than {MOST_PAGES} pages, which are too many bands")
    image.seek(found[0] if found else 0)
    return found


def _stacked(image: Image.Image, pages: Sequence[int], choice: ReadChoice) -> OpenImage:
    """Grey pages as the bands of one image."""
    form, last, notes = _cube_form((len(pages), image.height, image.width))

    def load() -> np.ndarray:
        return _joined((_grey_page(image, page) for page in pages), form, last, choice)

    return OpenImage(form, load, notes)


def _cube_form(shape: tuple[int, int, int]) -> tuple[Form, bool, tuple[str, ...]]:
    """The form of a stack of planes, and whether its bands are the last axis."""
    require_pixels(shape[2], shape[1], "TIFF", shape[0])
    last = bands_are_last(shape)
    height, width, bands = shape if last else (*shape[1:], shape[0])
    if bands > MOST_BANDS:
        raise ValueError(f"{width} x {height} pixels in {bands} bands are too many for a cutout")
    notes = ("bands moved from the last axis to the first",) if last else ("pages read as bands",)
    return Form((height, width), tuple(map(str, range(bands))), "float32"), last, notes


def _joined(planes: Iterable[np.ndarray], form: Form, last: bool, choice: ReadChoice) -> np.ndarray:
    """Planes as the bands of one image, or, where the bands are the last axis, as its rows."""
    pixels = np.empty((*form.size, len(form.bands)), np.float32)
    for number, plane in enumerate(planes):
        pixels[number if last else (..., number)] = plane
    fill_masked(np.moveaxis(pixels, -1, 0), form.bands, choice.max_nan)
    return pixels


def _grey_page(image: Any, page: int) -> np.ndarray:
    image.seek(page)
    return _grey(image)


def _grey(image: Any) -> np.ndarray:
    """The values of one page, float32 [y, x]."""
    with careful():
        image.load()
    values = np.asarray(image)
    if image.mode == "I" and image.tag_v2.get(KIND, (1,))[0] == 1 and image.tag_v2.get(BITS, (1,))[0] == 32:
        values = values.view(np.uint32)
    return values.astype(np.float32, copy=False)


def _eight_bits(image: Image.Image) -> np.ndarray:
    with careful():
        image.load()
        return np.asarray(rgb(image))


def _finite(cube: np.ndarray, bands: Sequence[str], choice: ReadChoice) -> np.ndarray:
    """A cube [band, y, x] as the pixels [y, x, band], all finite."""
    cube = cube if cube.flags.writeable else cube.copy()
    return np.ascontiguousarray(np.moveaxis(fill_masked(cube, bands, choice.max_nan), 0, -1))


def _by_tifffile(data: bytes, choice: ReadChoice) -> OpenImage:
    import tifffile

    file = tifffile.TiffFile(io.BytesIO(data))
    pages: list[Any] = []
    for page in cast(Any, file.pages):
        if not page.is_reduced:
            _require_page(data, page)
            pages.append(page)
        if len(pages) > MOST_PAGES:
            raise ValueError(f"it has more than {MOST_PAGES} pages, which are too many bands")
    if not pages:
        raise ValueError("it holds no page with an image")
    if len(pages) == 1:
        return _samples(pages[0], choice)
    if any(page.shape != pages[0].shape or page.axes != "YX" for page in pages):
        raise ValueError(f"its {len(pages)} pages are not grey images of one size")
    form, last, notes = _cube_form((len(pages), *pages[0].shape))

    def load() -> np.ndarray:
        return _joined((_values(page) for page in pages), form, last, choice)

    return OpenImage(form, load, notes)


def _samples(page: Any, choice: ReadChoice) -> OpenImage:
    """One page whose samples are the bands."""
    at = page.axes.find("S")
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"its axes are {page.axes}; rows, columns and samples are needed")
    count = 1 if at < 0 else page.shape[at]
    height, width = (page.shape[page.axes.index(axis)] for axis in "YX")
    colour = int(page.photometric) == 2
    alpha = colour and count == 4 and len(page.extrasamples) == 1 and int(page.extrasamples[0]) in ALPHA
    bands = RGB if colour and (count == 3 or alpha) else tuple(map(str, range(count)))
    if count > MOST_BANDS:
        raise ValueError(f"{width} x {height} pixels in {count} bands are too many for a cutout")
    eight = page.dtype == np.uint8 and bands == RGB

    def load() -> np.ndarray:
        values = _values(page)
        cube = values[None] if at < 0 else np.moveaxis(values, at, 0)
        if alpha:
            cube = cube[:3] * (cube[3] / (1 if page.dtype.kind == "f" else np.iinfo(page.dtype).max))
        pixels = _finite(cube, bands, choice)
        return pixels.round().astype(np.uint8) if eight else pixels.astype(np.float32)

    return OpenImage(Form((height, width), bands, "uint8" if eight else "float32"), load)


def _values(page: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(page.asarray(maxworkers=1)).astype(np.float32, copy=False)


def _require_page(data: bytes, page: Any) -> None:
    """Raise `ValueError` unless a page is small, is there, and unpacks to no more than its size."""
    kind = page.dtype
    if kind is None or kind.kind not in "uif":
        raise ValueError(f"its values are {kind}; whole numbers or floats are needed")
    if int(page.compression) not in (1, *DEFLATE):
        name = getattr(page.compression, "name", page.compression)
        raise ValueError(f"values of this kind are not read with the compression {name}: save it without, or deflated")
    if not all(type(count) is int for count in (*page.shape, *page.chunks)):
        raise ValueError("its tags of size are no whole numbers")
    held = len(page.dataoffsets) * prod(page.chunks)
    if not page.shape or 2 * max(prod(page.shape), prod(page.chunks), held // 2) > LARGEST:
        raise ValueError(f"{' x '.join(map(str, page.shape))} values are too many for a cutout")
    most = prod(page.chunks) * kind.itemsize
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if start + length > len(data):
            raise ValueError("it is truncated: a strip or tile ends beyond the file")
        if int(page.compression) in DEFLATE:
            stream = zlib.decompressobj()
            if len(stream.decompress(data[start : start + length], most + 1)) > most:
                raise ValueError("a strip or tile unpacks to more than its size")
    if int(page.compression) == 1 and sum(page.databytecounts) < prod(page.shape) * kind.itemsize:
        raise ValueError("it is truncated: there are fewer bytes than pixels")
