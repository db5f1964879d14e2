"""What a file of cutouts holds, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.files import replacing, writing
from skythaw.data.images import BrokenImageError, decode
from skythaw.data.overlaps import FIELD, basis_of, identify, sky_pairs

SCHEMA = 1
MARGIN, FONT_SIZE = 4, 14
UNLABELLED = "(no label)"


def inspect(path: Path) -> dict[str, Any]:
    """Look at every image of a file or folder of cutouts, in bounded memory.

    Returns
    -------
    dict
        JSON-able: `objects`, `classes` (objects of each), `unlabelled`, `broken` (`object_id` and `reason` of each),
        `duplicates` (lists of object_ids whose pixels are equal), `image_sizes` ("WIDTHxHEIGHT": images), `overlaps`
        (`cutouts` that share sky with another, `pairs` of them where coordinates tell, and the `basis` that told),
        `columns`, `recipe`

    Raises
    ------
    DataError
        The file can't be read as cutouts.
    """
    cutouts = read_cutouts(path, need_labels=False)
    broken, sizes, alike = [], Counter[str](), defaultdict(list)
    for name, data, sha256 in cutouts.images():
        content = hashlib.sha256(data).hexdigest()
        try:
            if content != sha256:
                raise BrokenImageError(name, "bytes differ from their checksum")
            pixels = decode(data, name)
        except BrokenImageError as error:
            broken.append({"object_id": name, "reason": error.reason})
            alike[content].append(name)
            continue
        y, x, _ = pixels.shape
        sizes[f"{x}x{y}"] += 1
        alike[hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()].append(name)
    return {
        "schema": SCHEMA,
        "objects": len(cutouts),
        "classes": cutouts.counts,
        "unlabelled": int((~cutouts.labelled).sum()),
        "broken": broken,
        "duplicates": [names for names in alike.values() if len(names) > 1],
        "image_sizes": dict(sizes.most_common()),
        "overlaps": _overlaps(cutouts),
        "columns": cutouts.table.column_names,
        "recipe": cutouts.recipe,
    }


def contact_sheet(path: Path, out: Path, per_class: int = 8, scale: float = 1.0) -> None:
    """Draw some cutouts of each class as a PNG: a row a class, with its name, evenly chosen from its objects.

    Parameters
    ----------
    path
        a file or folder of cutouts
    out
        the PNG to write
    per_class
        how many of each
    scale
        pixels of the sheet per pixel of a cutout; a broken image leaves its place empty

    Raises
    ------
    DataError
        The file can't be read as cutouts.
    OutputError
        The sheet can't be written.
    """
    cutouts = read_cutouts(path, need_labels=False)
    places = _places(cutouts, per_class)
    tiles = _tiles(cutouts, places, scale)
    side = max((max(tile.size) for tile in tiles.values()), default=64)
    names = [*cutouts.classes, UNLABELLED] if not cutouts.labelled.all() else list(cutouts.classes)
    font = ImageFont.load_default(FONT_SIZE)
    left = int(max(font.getlength(name) for name in names)) + 2 * MARGIN
    step = side + MARGIN
    sheet = Image.new("RGB", (left + per_class * step, len(names) * step + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for line, name in enumerate(names):
        draw.text((MARGIN, MARGIN + line * step + side // 2), name, fill="black", font=font, anchor="lm")
    for row, tile in tiles.items():
        line, column = places[row]
        sheet.paste(tile, (left + column * step, MARGIN + line * step))
    with replacing(Path(out)) as file, writing(Path(out)):
        sheet.save(file, "PNG")


def _overlaps(cutouts: Cutouts) -> dict[str, Any]:
    basis = basis_of(cutouts)
    if basis == "coordinates":
        touched, pairs = np.zeros(len(cutouts), dtype=bool), 0
        for left, right in sky_pairs(cutouts, ~touched):
            touched[left] = touched[right] = True
            pairs += len(left)
        return {"basis": basis, "cutouts": int(touched.sum()), "pairs": pairs}
    if basis == "field":
        sizes = np.bincount(identify([cutouts.column(name) for name in FIELD]))
        return {"basis": basis, "cutouts": int(sizes[sizes > 1].sum()), "pairs": None}
    return {"basis": None, "cutouts": 0, "pairs": None}


def _places(cutouts: Cutouts, per_class: int) -> dict[int, tuple[int, int]]:
    """Line and column on the sheet of each row that is shown."""
    places: dict[int, tuple[int, int]] = {}
    for line, label in enumerate([*cutouts.classes, None]):
        rows = np.flatnonzero(cutouts.labels == label) if label else np.flatnonzero(~cutouts.labelled)
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(per_class, len(rows))).round().astype(int))
        places |= {int(row): (line, column) for column, row in enumerate(rows[chosen])}
    return places


def _tiles(cutouts: Cutouts, places: dict[int, tuple[int, int]], scale: float) -> dict[int, Image.Image]:
    """The images of the rows that are shown, at the sheet's scale."""
    tiles = {}
    for row, (name, data, _) in enumerate(cutouts.images()):
        if row not in places:
            continue
        try:
            image = Image.fromarray(decode(data, name))
        except BrokenImageError:
            continue
        tiles[row] = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    return tiles
