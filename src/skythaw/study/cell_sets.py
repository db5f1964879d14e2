"""The three sets of a cell, ready for its network: training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.pixel_store import open_store
from skythaw.data.split import groups, nested_order, split
from skythaw.errors import DataError
from skythaw.spec import Cell
from skythaw.tuning.frozen.activation_cache import ActivationKey, mark_used, precision_of
from skythaw.tuning.frozen.activation_files import find
from skythaw.tuning.frozen.device_memory import DeviceActivations, room_on
from skythaw.tuning.labelled_images import LabelledImages, make_images
from skythaw.tuning.locations import Locations

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class CellSets:
    """The three sets of a cell, ready for the network."""

    classes: tuple[str, ...]
    images: dict[str, LabelledImages]
    ids: dict[str, list[str]]
    groups: np.ndarray
    """of the training objects: those of one group lie together on the sky, int [object]"""

    @property
    def targets(self) -> dict[str, np.ndarray]:
        return {part: images.targets for part, images in self.images.items()}


def load_sets(cell: Cell, locations: Locations, device: torch.device, parts_wanted: Sequence[str] = PARTS) -> CellSets:
    """Training, validation and test objects of a cell, or some of these parts."""
    cutouts = _unchanged(read_cutouts(locations.data), cell.data_sha256)
    store = open_store(cutouts, locations.cache, skip_broken=cell.skip_broken)
    parts = split(cutouts, cell.split, usable=store.usable, external_test=cell.test_sha256 is not None)
    pool = parts.train
    drawn = pool[nested_order(cutouts.labels[pool], cell.seed)[: cell.train_size]]
    rows = {"train": (cutouts, store, drawn), "validation": (cutouts, store, parts.validation)}
    if locations.test is not None and "test" in parts_wanted:
        other = _unchanged(read_cutouts(locations.test), cell.test_sha256)
        other_store = open_store(other, locations.cache, skip_broken=cell.skip_broken)
        rows["test"] = (other, other_store, np.flatnonzero(other.labelled & other_store.usable))
    elif "test" in parts_wanted:
        rows["test"] = (cutouts, store, parts.test)
    rows = {part: rows[part] for part in parts_wanted}
    index = {name: i for i, name in enumerate(cutouts.classes)}
    targets = {
        part: np.array([index[label] for label in c.labels[r]], dtype=np.int64) for part, (c, _, r) in rows.items()
    }
    return CellSets(
        classes=cutouts.classes,
        images={part: make_images(cell, s, r, targets[part], device) for part, (_, s, r) in rows.items()},
        ids={part: [c.object_ids[i] for i in r] for part, (c, _, r) in rows.items()},
        groups=groups(cutouts, cell.split.by, cell.split.nside)[drawn],
    )


def with_activations(sets: CellSets, cell: Cell, locations: Locations, depth: int) -> CellSets:
    """The sets with the precision of their frozen activations, and with those that are kept for the cut at `depth`."""
    images = {}
    for part, each in sets.images.items():
        sha256 = cell.test_sha256 if part == "test" and cell.test_sha256 else cell.data_sha256
        precision = precision_of(cell, part, depth)
        folder = ActivationKey(cell, depth, precision, sha256, each.device.type).folder(locations.cache)
        kept = find(folder, len(each.pixels)) if locations.reuse else None
        if kept:
            mark_used(folder)
        room = room_on(each.device)
        held = DeviceActivations(kept, each.rows, each.device, room) if kept and room else kept
        images[part] = replace(each, precision=getattr(torch, precision), kept=held)
    return replace(sets, images=images)


def _unchanged(cutouts: Cutouts, expected: str | None) -> Cutouts:
    if cutouts.sha256 != expected:
        raise DataError(f"{cutouts.paths[0]} has changed since the study was planned: run the study in a new folder")
    return cutouts
