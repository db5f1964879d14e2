"""What is suspicious in a set of cutouts, in sentences, each with what mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from skythaw.data.class_names import look_alikes, require_plain, say_alike
from skythaw.data.cutouts import Cutouts, is_number
from skythaw.data.twins import say_conflicts
from skythaw.errors import DataError

FEW_OBJECTS = 10
"""of a class: fewer can hardly be divided into three parts and scored"""
RARE = 20
"""how many times as many objects the commonest class may have before the rarest is called rare"""
EXACT = 2**53
"""float64 holds every whole number up to here"""
IMPORT = "skythaw data import FOLDER OUT.parquet"
AGAIN = "skythaw data import FILE OUT.parquet"
"""what writes a file of cutouts anew, with other names, sizes or without some images"""
PLACES = "a table of labels with the columns ra and dec (degrees) gives them: " + IMPORT + " --labels CSV"


def set_warnings(cutouts: Cutouts, found: dict[str, Any]) -> list[str]:
    """Sentences about classes, copies, labels, images, positions and ids.

    Parameters
    ----------
    cutouts
        the objects
    found
        what `skythaw.data.inspect.inspect` found: `broken`, `duplicates`, `near_duplicates`, `conflicts`,
        `image_sizes`, `kinds`, `bands`
    """
    return [*_classes(cutouts), *_copies(cutouts, found), *_images(found), *_positions(cutouts), *_ids(cutouts)]


def _classes(cutouts: Cutouts) -> Iterator[str]:
    counts = cutouts.counts
    for names in look_alikes(cutouts.labels):
        yield f"the classes {say_alike(names)} may be one; to merge them: {AGAIN} --merge"
    for name in counts:
        try:
            require_plain([name], "the data")
        except DataError as error:
            yield f"{error}: no study takes it"
    unlabelled = len(cutouts) - sum(counts.values())
    if unlabelled and counts:
        yield f"{unlabelled} objects have no label: a study leaves them out; a bundle labels them: skythaw predict"
    if unlabelled == len(cutouts):
        yield f"no object has a label, and a study needs labels; to give them: {IMPORT} --labels CSV"
    elif len(counts) == 1:
        yield f"{next(iter(counts))!r} is the only class, and a study needs two; {IMPORT} takes a folder for each class"
    few = {name: count for name, count in counts.items() if count < FEW_OBJECTS}
    if few:
        shown = _first([f"{name!r} ({count})" for name, count in few.items()])
        yield (
            f"{len(few)} classes have fewer than {FEW_OBJECTS} objects: {shown}; every "
            f"part of a study needs some of each class: add objects and run {IMPORT} again, or leave the class out"
        )
    if counts:
        rarest, commonest = (pick(counts, key=lambda name: counts[name]) for pick in (min, max))
        if counts[rarest] >= FEW_OBJECTS and counts[commonest] > RARE * counts[rarest]:
            yield (
                f"class {rarest!r} is rare: {counts[rarest]} objects, and {counts[commonest]} of {commonest!r}; in a "
                'study, class_weights = "balanced" under [recipe] lets all classes weigh the same'
            )


def _copies(cutouts: Cutouts, found: dict[str, Any]) -> Iterator[str]:
    if groups := found["duplicates"]:
        copies = sum(len(names) - 1 for names in groups)
        yield (
            f"{copies} images are copies of others, such as {' = '.join(groups[0][:3])}; a "
            "study keeps copies of one image in one part, whatever its split: skythaw study plan says how many"
        )
    if near := found["near_duplicates"]:
        yield (
            f"{sum(len(names) - 1 for names in near)} images are near copies of others (compressed again, or scaled), "
            f"such as {' = '.join(near[0][:3])}; a study keeps them in one part"
        )
    if found["conflicts"]:
        label = dict(zip(cutouts.object_ids, cutouts.labels, strict=True))
        sets = [[(name, label[name]) for name in names] for names in found["conflicts"]]
        yield f"{say_conflicts(sets)}; correct the labels, or leave these images out: {AGAIN} --drop-conflicts"


def _images(found: dict[str, Any]) -> Iterator[str]:
    if broken := found["broken"]:
        yield (
            f"{len(broken)} images can't be read ({broken[0]['object_id']}: {broken[0]['reason']}); to leave them out: "
            f"{AGAIN} --skip-broken, or skip_broken = true under [data] of a study"
        )
    sizes = list(found["image_sizes"])
    if len(sizes) > 1:
        yield f"images have {len(sizes)} sizes ({_first(sizes)}), and a study needs one; {AGAIN} --size N makes one"
    elif sizes and len(set(sizes[0].split("x"))) > 1:
        yield f"images are not square ({sizes[0]}), and a study needs squares; {AGAIN} --size N makes them"
    if len(found["kinds"]) > 1:
        yield f"images are of several kinds ({_first(list(found['kinds']))}); {IMPORT} for each kind alone"
    elif found["bands"] is None and found["kinds"]:
        yield f"images differ in their bands, and a study needs the same for all; {IMPORT} for each kind alone"


def _positions(cutouts: Cutouts) -> Iterator[str]:
    there = cutouts.table.column_names
    fields = {"run", "camcol", "field"} <= set(there)
    if not {"ra", "dec"} <= set(there):
        like = [name for name in there if name.casefold() in ("ra", "dec") and name not in ("ra", "dec")]
        if like:
            yield f"the columns {_first(like)} are not taken for positions: call them ra and dec"
        elif not fields:
            yield f"there are no positions and no fields: nobody can tell which cutouts overlap on the sky; {PLACES}"
        return
    if not all(is_number(cutouts.table[name].type) for name in ("ra", "dec")):
        yield f"ra and dec are not numbers, so they are no positions; {PLACES}"
        return
    ra, dec = cutouts.numbers("ra"), cutouts.numbers("dec")
    known = np.isfinite(ra) & np.isfinite(dec)
    if missing := int((~known).sum()):
        yield f"{missing} objects have no position; {PLACES}"
    outside = known & ((ra < 0) | (ra > 360) | (np.abs(dec) > 90))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        yield (
            f"{outside.sum()} positions are outside 0..360 (ra) or -90..90 (dec), such as ra = {ra[row]:g}, dec = "
            f"{dec[row]:g} of {cutouts.object_ids[row]}; {PLACES}"
        )
    elif known.sum() >= FEW_OBJECTS:
        yield from _odd_positions(ra[known], dec[known])


def _odd_positions(ra: np.ndarray, dec: np.ndarray) -> Iterator[str]:
    """Positions that are possible and hardly true."""
    if len(np.unique(np.stack([ra, dec]), axis=1).T) == 1:
        yield f"all objects have the same position (ra = {ra[0]:g}, dec = {dec[0]:g}); {PLACES}"
    elif ra.max() <= 24 and np.ptp(ra) > 12:
        yield f"ra goes from {ra.min():g} to {ra.max():g}: these may be hours, and degrees are wanted; {PLACES}"
    elif np.abs(ra).max() <= np.pi * 2 and np.abs(dec).max() <= np.pi / 2 and np.ptp(ra) > np.pi:
        yield f"ra goes up to {ra.max():.4g}, dec to {np.abs(dec).max():.4g}: these may be radians; {PLACES}"


def _ids(cutouts: Cutouts) -> Iterator[str]:
    """Ids that went through float64, as a spreadsheet or a table of numbers makes them: the last digits are lost."""
    for name in cutouts.table.column_names:
        if name != "object_id" and not name.casefold().endswith("id"):
            continue
        ids = [str(value) for value in cutouts.table[name].to_pylist() if value is not None]
        large = [
            int(text) for text in ids if text.isascii() and text.isdigit() and len(text) < 40 and int(text) > EXACT
        ]
        if len(large) >= 3 and len(large) == len(ids) and all(int(float(each)) == each for each in large):
            yield (
                f"the ids in {name} look rounded, as float64 does: all {len(ids)} could be held by it (such as "
                f"{ids[0]}), so their last digits may be lost; take the table again with the ids as text, and then "
                f"{IMPORT} --labels CSV"
            )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
