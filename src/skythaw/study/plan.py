"""From a study to its cells: every name and default settled, everything checked, nothing run. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skythaw import registry
from skythaw.backbones.catalogue import Backbone, chosen
from skythaw.backbones.catalogue import backbone as find_backbone
from skythaw.backbones.facts import Facts, Ratios, block_flops, facts
from skythaw.backbones.weights import Weights, locate
from skythaw.data.cutouts import Cutouts, read_cutouts, require_classes
from skythaw.data.images import probe_size
from skythaw.data.split import Parts, split
from skythaw.errors import DataError, SpecError, UnknownNameError, WeightsError
from skythaw.spec import AUTO_RATES, Cell, Pixels, Recipe, Study, WeightsChoice, trial_epochs

ABSENT = "not here yet"
"""Stands for the checksum of weights that a run would download."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell, and what is known of it beforehand."""

    cell: Cell
    weights: Weights | None
    """None where they would have to be downloaded first"""
    blocks: int
    """of the network"""
    ratios: Ratios
    cost: float
    """FLOPs of the whole cell, forward and backward"""


@dataclass(frozen=True)
class Plan:
    """What running a study would do."""

    study: Study
    cells: tuple[PlannedCell, ...]
    objects: dict[str, int]
    """in ``train`` (to draw from), ``validation`` and ``test``"""
    classes: tuple[str, ...]
    warnings: tuple[str, ...]
    description: dict[str, Any]
    """what the ledger keeps: everything that decides the study's numbers"""


@dataclass(frozen=True)
class Material:
    """The data sets of a study, opened and divided."""

    cutouts: Cutouts
    test: Cutouts | None
    parts: Parts
    side: int
    """pixels of a cutout"""

    @property
    def objects(self) -> dict[str, int]:
        test = len(self.parts.test) if self.test is None else int(self.test.labelled.sum())
        return {"train": len(self.parts.train), "validation": len(self.parts.validation), "test": test}


def make_plan(study: Study, cache: Path, *, download: bool = False, usable: np.ndarray | None = None) -> Plan:
    """Settle a study.

    Parameters
    ----------
    study
        as read from its file
    cache
        the cache folder
    download
        whether missing weights are fetched; if not, they are named in the plan's warnings
    usable
        bool [object]: which images of the data set can be read, where that is known already

    Raises
    ------
    SpecError, UnknownNameError, DataError, WeightsError
        The study can't be run as it is; the message says why, and what would be right.
    """
    material = open_material(study, usable)
    warnings = _warnings(study, material)
    cells: list[PlannedCell] = []
    digests: dict[str, str] = {}
    for name in study.grid.backbone:
        choice = study.weights.get(name, WeightsChoice())
        backbone = chosen(find_backbone(name), choice)
        weights = _weights(backbone, choice, download, warnings)
        digests[name] = weights.sha256 if weights else ABSENT
        network = facts(backbone, cache)
        depths = _depths(study, network, len(material.cutouts.classes), warnings)
        for cell in _cells(study, material, name, depths):
            settled = cell.model_copy(
                update={"weights": choice.model_copy(update={"file": None}), "weights_sha256": digests[name]}
            )
            cells.append(_price(settled, backbone, weights, network, material, cache))
    if unused := sorted(set(study.weights) - set(study.grid.backbone)):
        raise UnknownNameError.among("backbone in [weights]", unused[0], study.grid.backbone)
    checksums = {"data": material.cutouts.sha256, "test": material.test.sha256 if material.test else None}
    return Plan(
        study=study,
        cells=tuple(cells),
        objects=material.objects,
        classes=material.cutouts.classes,
        warnings=tuple(warnings),
        description={**study.describe(), "sha256": {**checksums, "weights": digests}},
    )


def open_material(study: Study, usable: np.ndarray | None = None) -> Material:
    """Read the tables of a study and divide its objects; the images stay closed."""
    cutouts = read_cutouts(study.data.path)
    require_classes(cutouts)
    test = None
    if study.data.test_path is not None:
        test = read_cutouts(study.data.test_path)
        if unknown := sorted(set(test.classes) - set(cutouts.classes)):
            raise DataError(f"{study.data.test_path} has the class {unknown[0]!r}, which {study.data.path} lacks")
        if shared := set(test.object_ids) & set(cutouts.object_ids):
            raise DataError(
                f"{study.data.test_path} shares {len(shared)} objects with {study.data.path} "
                f"(e.g. {min(shared)}): a test set must hold objects of its own"
            )
    parts = split(cutouts, study.data.split, usable=usable, external_test=test is not None)
    object_id, image, _ = next(cutouts.images())
    height, width = probe_size(image, object_id)
    if height != width:
        raise DataError(f"{study.data.path}: {object_id} has {width} x {height} pixels; cutouts must be square")
    return Material(cutouts, test, parts, width)


def _weights(backbone: Backbone, choice: WeightsChoice, download: bool, warnings: list[str]) -> Weights | None:
    try:
        return locate(backbone, choice, download=download)
    except WeightsError as error:
        if download or choice.file is not None:
            raise
        warnings.append(f"weights of {backbone.name} are not here yet: {error}")
        return None


def _depths(study: Study, network: Facts, classes: int, warnings: list[str]) -> list[int]:
    """The depths of the study in one network, each once."""
    asked = {text: network.depth(text, classes) for text in study.grid.depth}
    first: dict[int, int | str] = {}
    for text, depth in asked.items():
        if depth in first:
            warnings.append(
                f"{network.name}: depths {first[depth]!r} and {text!r} are the same "
                f"({depth} of {len(network.blocks)} blocks); run once"
            )
        first.setdefault(depth, text)
    return list(first)


def _cells(study: Study, material: Material, backbone: str, depths: list[int]) -> Iterator[Cell]:
    """The cells of one backbone, in the order of the grid, without weights."""
    grid, available = study.grid, material.objects["train"]
    sizes = [_train_size(size, available) for size in grid.train_size]
    names = list(grid.axes)
    for strategy in grid.strategy:
        registry.get("strategy", strategy)
    for values in itertools.product(*grid.axes.values()):
        settings = dict(zip(names, values, strict=True))
        pixels = _pixels(study, settings, material.side)
        recipe = Recipe.model_validate(
            {**study.recipe.model_dump(), **{n: v for n, v in settings.items() if n in Recipe.model_fields}}
        )
        if pixels.crop + 2 * recipe.shift > material.side:
            raise SpecError(
                f"crop = {pixels.crop} with shift = {recipe.shift} needs cutouts of {pixels.crop + 2 * recipe.shift} "
                f"pixels; these have {material.side}"
            )
        for strategy, size, depth, seed in itertools.product(grid.strategy, sizes, depths, grid.seed):
            yield Cell(
                backbone=backbone,
                strategy=strategy,
                depth=depth,
                train_size=size,
                seed=seed,
                pixels=pixels,
                split=study.data.split,
                skip_broken=study.data.skip_broken,
                recipe=recipe,
                weights=WeightsChoice(),
                weights_sha256=ABSENT,
                data_sha256=material.cutouts.sha256,
                test_sha256=material.test.sha256 if material.test else None,
            )


def _train_size(size: int | str, available: int) -> int:
    if isinstance(size, str):
        return available
    if size > available:
        raise SpecError(f"train_size = {size} is more than there are: {available} training images after the split")
    return size


def _pixels(study: Study, settings: dict[str, Any], side: int) -> Pixels:
    data = study.data
    crop = settings.get("crop", data.crop or side)
    if crop > side:
        raise SpecError(f"crop = {crop} is larger than the cutouts, which have {side} pixels a side")
    return Pixels(
        crop=crop, size=settings.get("size", data.size or crop), stretch=settings.get("stretch", data.stretch)
    )


def _price(
    cell: Cell, backbone: Backbone, weights: Weights | None, network: Facts, material: Material, cache: Path
) -> PlannedCell:
    """Check a cell against its network, and estimate its cost."""
    if cell.pixels.size < network.smallest_input:
        raise SpecError(
            f"{cell.backbone} takes images of at least {network.smallest_input} pixels, not size = {cell.pixels.size}; "
            f"set size = {network.smallest_input} or more (the crop is then enlarged)"
        )
    flops = block_flops(backbone, cell.pixels.size, cache)
    whole, suffix = sum(flops), sum(flops[len(flops) - cell.depth :])
    epochs, n = cell.recipe.epochs, material.objects
    if cell.recipe.lr == "auto":
        epochs += len(AUTO_RATES) * trial_epochs(cell.recipe)
    training = cell.train_size * epochs * (whole + 2 * suffix)
    scoring = (n["validation"] * (epochs + 1) + cell.train_size + n["test"]) * whole
    ratios = network.ratios(cell.depth, len(material.cutouts.classes), flops)
    return PlannedCell(cell, weights, len(network.blocks), ratios, float(training + scoring))


def _warnings(study: Study, material: Material) -> list[str]:
    by, parts = study.data.split.by, material.parts
    warnings = []
    if by == "random":
        warnings.append("split by = 'random' ignores the sky: neighbouring cutouts overlap and leak across it")
    if parts.basis is not None and parts.overlapping:
        how = "overlap on the sky with one" if parts.basis == "coordinates" else "share a field with one"
        warnings.append(f"{parts.overlapping} cutouts {how} in another part of the split")
    if parts.basis is None and by == "random":
        warnings.append("how many cutouts overlap can't be said: there are no coordinates or fields")
    return warnings
