"""From a study to its cells: every name and default settled, everything checked, nothing run. Imports no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skythaw import registry
from skythaw.backbones.catalogue import Backbone, chosen
from skythaw.backbones.catalogue import backbone as find_backbone
from skythaw.backbones.facts import Facts, Ratios, block_flops, facts
from skythaw.backbones.weights import Weights, locate
from skythaw.errors import SpecError, UnknownNameError, WeightsError
from skythaw.spec import AUTO_RATES, Cell, Pixels, Recipe, Study, WeightsChoice, trial_epochs
from skythaw.study.material import Material, open_material

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


def make_plan(study: Study, cache: Path, *, download: bool = False) -> Plan:
    """Settle a study.

    Parameters
    ----------
    study
        as read from its file
    cache
        the cache folder
    download
        whether missing weights are fetched; if not, they are named in the plan's warnings

    Raises
    ------
    SpecError, UnknownNameError, DataError, WeightsError
        The study can't be run as it is; the message says why, and what would be right.
    """
    material = open_material(study, cache)
    warnings = material.warnings()
    cells: dict[str, PlannedCell] = {}
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
            if settled.key in cells:
                warnings.append(f"{name}, depth {cell.depth}, seed {cell.seed}: listed twice in the grid; run once")
            else:
                flops = block_flops(backbone, cell.pixels.size, cache) if _fits(cell, network) else ()
                cells[settled.key] = _price(settled, weights, network, material, flops)
    if unused := sorted(set(study.weights) - set(study.grid.backbone)):
        raise UnknownNameError.among("backbone in [weights]", unused[0], study.grid.backbone)
    checksums = {"data": material.cutouts.sha256, "test": material.test.sha256 if material.test else None}
    return Plan(
        study=study,
        cells=tuple(cells.values()),
        objects=material.objects,
        classes=material.cutouts.classes,
        warnings=tuple(warnings),
        description={**study.describe(), "sha256": {**checksums, "weights": digests}},
    )


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
    grid = study.grid
    sizes = [material.train_size(size) for size in grid.train_size]
    for strategy in grid.strategy:
        registry.get("strategy", strategy)
    for values in itertools.product(*grid.axes.values()):
        settings = dict(zip(grid.axes, values, strict=True))
        pixels = _pixels(study, settings, material.side)
        recipe = Recipe.model_validate(
            {**study.recipe.model_dump(), **{n: v for n, v in settings.items() if n in Recipe.model_fields}}
        )
        pixels.require_room(material.side, recipe.shift)
        for strategy, size, depth, seed in itertools.product(grid.strategy, sizes, depths, grid.seed):
            _require_batches(size, recipe)
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


def _require_batches(size: int, recipe: Recipe) -> None:
    """Batch norm has no statistics of a batch of one."""
    if recipe.batchnorm == "train" and size // math.ceil(size / recipe.batch) < 2:
        raise SpecError(f"batchnorm = 'train' with batch = {recipe.batch} and {size} images makes batches of one image")


def _pixels(study: Study, settings: dict[str, Any], side: int) -> Pixels:
    data = study.data
    crop = settings.get("crop", data.crop or side)
    return Pixels(
        crop=crop, size=settings.get("size", data.size or crop), stretch=settings.get("stretch", data.stretch)
    )


def _fits(cell: Cell, network: Facts) -> bool:
    if cell.pixels.size >= network.smallest_input:
        return True
    raise SpecError(
        f"{cell.backbone} takes images of at least {network.smallest_input} pixels, not size = {cell.pixels.size}; "
        f"set size = {network.smallest_input} or more (the crop is then enlarged)"
    )


def _price(
    cell: Cell, weights: Weights | None, network: Facts, material: Material, flops: tuple[int, ...]
) -> PlannedCell:
    """How much of the network a cell trains, and what it costs."""
    blocks = len(network.blocks)
    trained = registry.get("strategy", cell.strategy)(blocks, cell.depth)
    whole, suffix = sum(flops), sum(flops[min(trained, default=blocks) :])
    epochs, n = cell.recipe.epochs, material.objects
    if cell.recipe.lr == "auto":
        epochs += len(AUTO_RATES) * trial_epochs(cell.recipe)
    training = cell.train_size * epochs * (whole + 2 * suffix)
    scoring = (n["validation"] * (epochs + 1) + cell.train_size + n["test"]) * whole
    ratios = network.ratios(trained, len(material.cutouts.classes), flops)
    return PlannedCell(cell, weights, blocks, ratios, float(training + scoring))
