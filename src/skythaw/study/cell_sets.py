"""The three sets of a cell, ready for its network: training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from skythaw.data.cutouts import read_cutouts
from skythaw.data.pixel_store import open_store
from skythaw.machine.device import device_model
from skythaw.spec import Cell
from skythaw.study.cell_objects import PARTS, OpenSet, cell_objects
from skythaw.tuning.frozen.activation_cache import ActivationKey, mark_used, precision_of
from skythaw.tuning.frozen.activation_files import find
from skythaw.tuning.frozen.device_memory import PIXELS, SHARE, DeviceActivations, room_on
from skythaw.tuning.labelled_images import LabelledImages, holding, make_images
from skythaw.tuning.locations import Locations


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
    apart = locations.test is not None and "test" in parts_wanted
    test = _open(locations.test, cell, locations) if apart and locations.test else None
    objects = cell_objects(cell, _open(locations.data, cell, locations), test)
    targets, ids, rows = objects.targets, objects.ids, objects.rows
    images: dict[str, LabelledImages] = {}
    room = int(PIXELS * room_on(device, locations.share))
    for part in parts_wanted:
        made = make_images(cell, objects.sets[part].store, rows[part], targets[part], device)
        images[part] = holding(made, room)
        if held := images[part].held:
            room -= held.bytes
    return CellSets(
        classes=objects.classes,
        images=images,
        ids={part: ids[part] for part in parts_wanted},
        groups=objects.groups,
    )


def _open(path: Path, cell: Cell, locations: Locations) -> OpenSet:
    cutouts = read_cutouts(path)
    return OpenSet(cutouts, open_store(cutouts, locations.cache, skip_broken=cell.skip_broken))


def with_activations(sets: CellSets, cell: Cell, locations: Locations, depth: int) -> CellSets:
    """The sets with the precision of their frozen activations, and with those that are kept for the cut at `depth`."""
    device = next(iter(sets.images.values())).device
    images, model, room = {}, device_model(str(device)), int(SHARE * room_on(device, locations.share))
    for part, each in sets.images.items():
        sha256 = cell.test_sha256 if part == "test" and cell.test_sha256 else cell.data_sha256
        precision = precision_of(cell, part, depth)
        folder = ActivationKey(cell, depth, precision, sha256, model).folder(locations.cache)
        kept = find(folder, len(each.pixels)) if locations.reuse else None
        if kept:
            mark_used(folder)
        images[part] = replace(each, precision=getattr(torch, precision), kept=kept)
        if kept and room:
            held = DeviceActivations(kept, each.rows, device, room)
            images[part], room = replace(images[part], kept=held), room - held.bytes
    return replace(sets, images=images)
