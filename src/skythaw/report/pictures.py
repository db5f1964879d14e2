"""Pictures of some objects of a run, as its networks saw them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from skythaw.data.cutouts import read_cutouts
from skythaw.data.images import BrokenImageError, decode
from skythaw.errors import DataError

LARGEST = 128
"""pixels a side; larger crops are made smaller"""


def pictures(paths: Iterable[Path], ids: Iterable[str], crop: int | None) -> dict[str, bytes]:
    """The centres of some objects' images as PNG files, by object; what can't be read is left out.

    Parameters
    ----------
    paths
        files of cutouts in which to look; one that is no longer there is passed over
    ids
        of the objects
    crop
        pixels of the centre that the networks got; None is the whole image
    """
    wanted, found = set(ids), dict[str, bytes]()
    for path in paths:
        try:
            cutouts = read_cutouts(path)
            if wanted & set(cutouts.object_ids):
                for object_id, data, _ in cutouts.images():
                    if object_id in wanted and (image := _centre(data, object_id, crop)):
                        found[object_id] = image
        except DataError:
            continue
    return found


def _centre(data: bytes, object_id: str, crop: int | None) -> bytes | None:
    from PIL import Image

    try:
        image = Image.fromarray(decode(data, object_id))
    except BrokenImageError:
        return None
    side = min(crop or max(image.size), *image.size)
    left, top = ((length - side) // 2 for length in image.size)
    image = image.crop((left, top, left + side, top + side))
    image.thumbnail((LARGEST, LARGEST))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
