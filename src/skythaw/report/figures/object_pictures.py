"""Pictures of some objects of a run, in the bands and the brightness that its networks saw."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.decode import bands_of, decode
from skythaw.data.stretch import picture, suggest
from skythaw.errors import SkythawError
from skythaw.spec import Pixels
from skythaw.spec.pixel_settings import Stretch

LARGEST = 128
"""pixels a side; larger crops are made smaller"""


def pictures(paths: Iterable[Path], ids: Iterable[str], seen: Pixels) -> dict[str, bytes]:
    """The centres of some objects' images as PNG files, by object; what can't be read or shown so is left out.

    Parameters
    ----------
    paths
        files of cutouts in which to look; one that is no longer there is passed over
    ids
        of the objects
    seen
        crop, bands and stretch; of more than three bands, three are shown (`skythaw.data.stretch.picture`)
    """
    wanted, found = set(ids), dict[str, bytes]()
    for path in paths:
        try:
            cutouts = read_cutouts(path)
            if wanted & set(cutouts.object_ids):
                for object_id, data, _ in cutouts.images():
                    if object_id in wanted and (image := _centre(data, object_id, seen)):
                        found[object_id] = image
        except SkythawError:
            continue
    return found


def picture_of(cutouts: Cutouts, row: int, seen: Pixels) -> bytes | None:
    """The centre of one object's image as a PNG file; None if it can't be read or shown so."""
    object_id, data, _ = next(cutouts.images(row))
    return _centre(data, object_id, seen)


def rendered(values: np.ndarray, bands: Sequence[str], seen: Pixels) -> Image.Image:
    """The centre of an image [y, x, band] in colours, in the bands and the brightness that a network sees.

    Raises
    ------
    UnknownNameError
        A band that it sees is not there.
    """
    places = seen.places(bands)
    height, width = values.shape[:2]
    side = min(seen.crop, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = values[top : top + side, left : left + side].take(places, axis=2)
    return Image.fromarray(picture(cut, [bands[i] for i in places], seen.stretch))


def _centre(data: bytes, object_id: str, seen: Pixels) -> bytes | None:
    try:
        image = rendered(decode(data, object_id), bands_of(data, object_id), seen)
    except SkythawError:
        return None
    return small_png(image)


def whole_picture(data: bytes) -> bytes | None:
    """An image file as a small PNG file, of floats from its 1st to its 99.9th percentile; None if it can't be read."""
    try:
        values, bands = decode(data, ""), bands_of(data)
    except SkythawError:
        return None
    linear = values.dtype == np.uint8
    stretch = Stretch(kind="linear") if linear else suggest(values.reshape(-1, values.shape[2]))
    return small_png(Image.fromarray(picture(values, bands, stretch)))


def small_png(image: Image.Image) -> bytes:
    """A picture as a PNG file of at most `LARGEST` pixels a side."""
    image.thumbnail((LARGEST, LARGEST))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
