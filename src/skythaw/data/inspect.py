"""What a file of cutouts holds, and what is wrong with it."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.decode import BrokenImageError, decode, probe, require_checksum
from skythaw.data.image_form import Form
from skythaw.data.inspect_warnings import set_warnings
from skythaw.data.near_copies import Signatures
from skythaw.data.overlaps import FIELD, basis_of, identify, sky_pairs
from skythaw.data.stretch import picture, suggest
from skythaw.machine.files import replacing, writing
from skythaw.spec import Stretch

SCHEMA = 1
MARGIN, FONT_SIZE = 4, 14
UNLABELLED = "(no label)"
PERCENTILES = (1, 50, 99, 99.9)
SAMPLE_IMAGES, SAMPLE_PIXELS = 1000, 4096
"""How many images of floats the percentiles are of, and how many pixels of each: evenly chosen."""


def inspect(path: Path) -> dict[str, Any]:
    """Look at every image of a file or folder of cutouts, in bounded memory.

    Returns
    -------
    dict
        JSON-able: `objects`, `classes` (objects of each), `unlabelled`, `broken` (`object_id` and `reason` of each),
        `duplicates` (lists of object_ids whose pixels are equal), `near_duplicates` (lists of object_ids whose images
        are one, compressed again or scaled), `conflicts` (those of both whose labels differ),
        `warnings` (sentences, each with what mends it), `image_sizes` ("WIDTHxHEIGHT": images), `kinds`
        ("FITS" or "JPEG or PNG": images), `bands` (their names; None if images differ), `percentiles` of the values of
        each band and a `stretch` to begin with (both None if images differ, or are of 8 bits), `overlaps` (`cutouts`
        that share sky with another, `pairs` of them where coordinates tell, and the `basis` that told), `columns`,
        `recipe`

    Raises
    ------
    DataError
        The file can't be read as cutouts.
    """
    cutouts = read_cutouts(path, need_labels=False)
    broken, forms, alike = [], Counter[Form](), defaultdict[str, list[str]](list)
    noise = Signatures(len(cutouts))
    samples: dict[tuple[str, ...], list[np.ndarray]] = defaultdict(list)
    sampled = set(np.linspace(0, len(cutouts) - 1, min(SAMPLE_IMAGES, len(cutouts))).round().astype(int).tolist())
    for row, (name, data, sha256) in enumerate(cutouts.images()):
        try:
            require_checksum(data, sha256, name)
            form, pixels = probe(data, name), decode(data, name)
        except BrokenImageError as error:
            broken.append({"object_id": name, "reason": error.reason})
            if data:
                alike[hashlib.sha256(data).hexdigest()].append(name)
            continue
        forms[form] += 1
        if form.floats and row in sampled:
            samples[form.bands].append(_thinned(pixels))
        alike[hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()].append(name)
        noise.add([row], pixels[None])
    near = _near_copies(cutouts, noise, list(alike.values()))
    found = {
        "schema": SCHEMA,
        "objects": len(cutouts),
        "classes": cutouts.counts,
        "unlabelled": int((~cutouts.labelled).sum()),
        "broken": broken,
        "duplicates": [names for names in alike.values() if len(names) > 1],
        "near_duplicates": near,
        "conflicts": _conflicts(cutouts, [*alike.values(), *near], {each["object_id"] for each in broken}),
        "image_sizes": _counted(forms, lambda form: f"{form.size[1]}x{form.size[0]}"),
        "kinds": _counted(forms, lambda form: form.kind),
        **_values(forms, samples),
        "overlaps": _overlaps(cutouts),
        "columns": cutouts.table.column_names,
        "recipe": cutouts.recipe,
    }
    return {**found, "warnings": set_warnings(cutouts, found)}


def contact_sheet(path: Path, out: Path, per_class: int = 8, scale: float = 1.0) -> None:
    """Draw some cutouts of each class as a PNG: a row a class, with its name, evenly chosen from its objects.

    Images of floats are shown in the three middle ones of their bands by wavelength, the reddest as red (see
    `skythaw.data.stretch.picture`), each with an asinh stretch from the 1st to the 99.9th percentile on the sheet.

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


def _near_copies(cutouts: Cutouts, noise: Signatures, alike: list[list[str]]) -> list[list[str]]:
    """Groups of object_ids whose images are near copies, and not all equal."""
    together = defaultdict[int, list[str]](list)
    for name, group in zip(cutouts.object_ids, noise.groups().tolist(), strict=True):
        together[group].append(name)
    equal = {frozenset(names) for names in alike}
    return [names for names in together.values() if len(names) > 1 and frozenset(names) not in equal]


def _conflicts(cutouts: Cutouts, groups: list[list[str]], broken: set[str]) -> list[list[str]]:
    """Of groups of object_ids whose images are equal, the labelled ones of those with several labels."""
    label = dict(zip(cutouts.object_ids, cutouts.labels, strict=True))
    known = [[name for name in names if name not in broken and label[name] is not None] for names in groups]
    return [names for names in known if len({label[name] for name in names}) > 1]


def _counted(forms: Counter[Form], say: Callable[[Form], str]) -> dict[str, int]:
    counts = Counter[str]()
    for form, count in forms.items():
        counts[say(form)] += count
    return dict(counts.most_common())


def _thinned(pixels: np.ndarray) -> np.ndarray:
    """Some pixels of an image, evenly chosen, [pixel, band]: at most `SAMPLE_PIXELS`."""
    step = math.ceil(math.sqrt(math.prod(pixels.shape[:2]) / SAMPLE_PIXELS))
    return pixels[::step, ::step].reshape(-1, pixels.shape[2])


def _values(forms: Counter[Form], samples: dict[tuple[str, ...], list[np.ndarray]]) -> dict[str, Any]:
    """Names of the bands, and what the values of floats are."""
    kinds = {(form.bands, form.floats) for form in forms}
    if len(kinds) != 1:
        return {"bands": None, "percentiles": None, "stretch": None}
    ((bands, floats),) = kinds
    if not floats or not samples:
        return {"bands": list(bands), "percentiles": None, "stretch": None}
    values = np.concatenate(samples[bands])
    found = np.percentile(values, PERCENTILES, axis=0).T
    percentiles = {
        band: {f"{p:g}": float(n) for p, n in zip(PERCENTILES, some, strict=True)}
        for band, some in zip(bands, found, strict=True)
    }
    return {"bands": list(bands), "percentiles": percentiles, "stretch": suggest(values).model_dump(mode="json")}


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
    shown: dict[int, tuple[Form, np.ndarray]] = {}
    for row, (name, data, _) in enumerate(cutouts.images()):
        if row in places:
            try:
                shown[row] = probe(data, name), decode(data, name)
            except BrokenImageError:
                continue
    samples: dict[tuple[str, ...], list[np.ndarray]] = defaultdict(list)
    for form, pixels in shown.values():
        if form.floats:
            samples[form.bands].append(_thinned(pixels))
    stretches = {bands: suggest(np.concatenate(some)) for bands, some in samples.items()}
    tiles = {}
    for row, (form, pixels) in shown.items():
        stretch = stretches[form.bands] if form.floats else Stretch(kind="linear")
        image = Image.fromarray(picture(pixels, form.bands, stretch))
        tiles[row] = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    return tiles
