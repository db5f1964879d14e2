"""From a study to its cells: every name and default settled, everything checked, nothing run. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from skythaw.backbones.known_backbones import Backbone, chosen
from skythaw.backbones.known_backbones import backbone as find_backbone
from skythaw.backbones.network_facts import CutFacts, Facts, Ratios, block_flops, cuts, facts
from skythaw.backbones.pretrained_weights import Weights, locate
from skythaw.errors import WeightsError
from skythaw.machine.device import device_kind
from skythaw.spec import IMAGES, NUMBER_MODELS, Cell, Pixels, Recipe, Study, WeightsChoice
from skythaw.study.axis_settings import axis_settings, overruled
from skythaw.study.cell_fits import require_batches, require_fitting
from skythaw.study.memory_need import memory_of
from skythaw.study.number_check import check_numbers, unused_numbers
from skythaw.study.study_data import StudyData, open_study_data
from skythaw.study.study_networks import study_networks
from skythaw.tuning.frozen.reuse_plan import BUDGET, ObjectSets, Reuse, group_of, plan_reuse
from skythaw.tuning.fusion import NETWORK_FOLDS, STACK, WAYS
from skythaw.tuning.strategies import strategy
from skythaw.tuning.training_pace import expected_scorings, expected_steps

STEP = 10**8
"""FLOPs that could be done in the time a training step takes beside its arithmetic"""
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
    flops: tuple[int, ...]
    """forward FLOPs of each block for one image"""
    cut: int
    """the depth of its cut: how many blocks lie above the frozen prefix"""
    crossing: int | None
    """numbers of one image that cross the cut; None where there is none"""
    memory: int
    """bytes that the cell needs, about: `skythaw.study.memory_need`"""
    cost: float = 0.0
    """FLOPs of the whole cell, forward and backward, as the study will run it"""

    @property
    def prefix(self) -> int:
        """Forward FLOPs of what is frozen below the cut."""
        return sum(self.flops[: self.blocks - self.cut])


@dataclass(frozen=True)
class Plan:
    """What running a study would do."""

    study: Study
    cells: tuple[PlannedCell, ...]
    objects: dict[str, int]
    """in ``train`` (to draw from), ``validation`` and ``test``"""
    classes: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    """how the numbers beside the images were read, in sentences"""
    description: dict[str, Any]
    """what the ledger keeps: everything that decides the study's numbers"""
    reuse: tuple[Reuse, ...]
    """which frozen activations are kept"""
    study_data: StudyData = field(repr=False)
    device: str
    """where the cells are to run: ``cpu`` or ``cuda``"""

    def __repr__(self) -> str:
        objects = ", ".join(f"{number:,} {part}" for part, number in self.objects.items())
        networks = ", ".join(dict.fromkeys(planned.cell.network for planned in self.cells))
        return f"Plan of {self.study.name!r}: {len(self.cells):,} cells of {networks}; objects: {objects}"

    @property
    def flops(self) -> float:
        """Of all cells, and of the passes that fill what is kept."""
        return sum(p.cost for p in self.cells) + sum(r.flops for r in self.reuse)


def make_plan(
    study: Study, cache: Path, *, download: bool = False, budget: int = BUDGET, device: str | None = None
) -> Plan:
    """Settle a study.

    Parameters
    ----------
    study
        as read from its file
    cache
        the cache folder
    download
        whether missing weights are fetched; if not, they are named in the plan's warnings
    budget
        bytes that frozen activations may take in the cache folder; 0 keeps none
    device
        where the cells are to run, ``cpu`` or ``cuda``: it decides what is worth keeping; by default what is here

    Raises
    ------
    SpecError, UnknownNameError, DataError, WeightsError
        The study can't be run as it is; the message says why, and what would be right.
    """
    study_data = open_study_data(study, cache)
    study = study_data.study
    warnings = [*study_data.warnings(), *overruled(study), *unused_numbers(study)]
    notes = check_numbers(study_data, cache)
    cells, digests = dict[str, PlannedCell](), dict[str, str]()
    settings = axis_settings(study, study_data)
    inputs = {(pixels.inputs, pixels.size) for pixels, _ in settings}
    for network in study_networks(study, warnings):
        name, choice = network.name, network.choice
        weights = _weights(find_backbone(name), choice, download, warnings)
        digests[network.title] = weights.sha256 if weights else f"{ABSENT} {choice.name or ''}".strip()
        backbones = {n: chosen(find_backbone(name).with_bands(n[0]).with_size(n[1]), choice) for n in inputs}
        networks = {n: facts(backbone, cache) for n, backbone in backbones.items()}
        classes = len(study_data.cutouts.classes)
        depths = {n: _depths(study, each, classes, warnings) for n, each in networks.items()}
        for cell in _cells(study, study_data, name, settings, depths):
            settled = network.cell(cell, digests[network.title])
            if settled.key in cells:
                warnings.append(f"{settled.network}, depth {cell.depth}, seed {cell.seed}: {_twice(settled, cells)}")
            else:
                n = (cell.pixels.inputs, cell.pixels.size)
                require_fitting(cell, networks[n])
                flops = block_flops(backbones[n], cell.pixels.size, cache)
                found = cuts(backbones[n], cell.pixels.size, cache)
                cells[settled.key] = _measure(settled, weights, networks[n], study_data, flops, found)
    kind = device or device_kind("auto")
    reuse = _plan_reuse(list(cells.values()), study_data, budget, kind)
    checksums = {"data": study_data.cutouts.sha256, "test": study_data.test.sha256 if study_data.test else None}
    if study_data.numbers_sha256:
        checksums["numbers"] = study_data.numbers_sha256
    return Plan(
        study=study,
        cells=tuple(_priced(list(cells.values()), reuse, study_data)),
        objects=study_data.objects,
        classes=study_data.cutouts.classes,
        warnings=tuple(dict.fromkeys(warnings)),
        notes=tuple(notes),
        description={**study.describe(study_data.train_sizes), "sha256": {**checksums, "weights": digests}},
        reuse=tuple(reuse.values()),
        study_data=study_data,
        device=kind,
    )


def plan_trials(plan: Plan, cells: Iterable[PlannedCell], cache: Path, budget: int, *, trial: bool) -> Plan:
    """A plan of other cells over the same data: changed ones of the plan's, priced anew.

    As trials they are not scored on the test set.
    """
    study_data = plan.study_data
    if trial:
        nothing = np.zeros(0, dtype=np.int64)
        parts = replace(study_data.parts, test=nothing)
        study_data = replace(study_data, parts=parts, test=None, tested=nothing.astype(bool))
    wanted = list(cells)
    reuse = _plan_reuse(wanted, study_data, budget, plan.device)
    return replace(plan, cells=tuple(_priced(wanted, reuse, study_data)), reuse=tuple(reuse.values()))


def _twice(cell: Cell, cells: dict[str, PlannedCell]) -> str:
    """That a cell is there already, and as what."""
    there = cells[cell.key].cell.network
    return "listed twice in the grid; run once" if there == cell.network else f"the same as {there}; run once"


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


def _cells(
    study: Study,
    study_data: StudyData,
    backbone: str,
    settings: list[tuple[Pixels, Recipe]],
    depths: dict[tuple[int, int], list[int]],
) -> Iterator[Cell]:
    """The cells of one backbone, in the order of the grid, without weights; depths are by bands and size of image."""
    grid = study.grid
    inputs = (IMAGES, *(each for each in grid.inputs if each not in (IMAGES, "table")))
    for name in grid.strategy:
        strategy(name)
    for pixels, recipe in settings:
        every = (inputs, grid.strategy, study_data.train_sizes, depths[pixels.inputs, pixels.size], grid.seed)
        for given, way, size, depth, seed in itertools.product(*every):
            require_batches(size, recipe)
            yield Cell(
                inputs=given,
                numbers=None if given == IMAGES else study.data.numbers,
                numbers_sha256=None if given == IMAGES else study_data.numbers_sha256,
                number_models=() if given == IMAGES else NUMBER_MODELS,
                backbone=backbone,
                strategy=way,
                depth=depth,
                train_size=size,
                seed=seed,
                pixels=pixels,
                split=study.data.split,
                skip_broken=study.data.skip_broken,
                recipe=recipe,
                weights=WeightsChoice(),
                weights_sha256=ABSENT,
                data_sha256=study_data.cutouts.sha256,
                test_sha256=study_data.test.sha256 if study_data.test else None,
            )


def _measure(
    cell: Cell,
    weights: Weights | None,
    network: Facts,
    study_data: StudyData,
    flops: tuple[int, ...],
    found: tuple[CutFacts, ...],
) -> PlannedCell:
    """How much of the network a cell trains, and what that takes."""
    blocks = len(network.blocks)
    thaw = strategy(cell.strategy)(blocks, cell.depth)
    ratios = network.ratios(thaw.blocks, len(study_data.cutouts.classes), flops, thaw.only, thaw.rank)
    memory, cut = memory_of(cell, network, thaw, found, study_data.objects["validation"]), thaw.cut(blocks)
    return PlannedCell(cell, weights, blocks, ratios, flops, cut, found[cut].values, memory)


def sets_of(study_data: StudyData) -> ObjectSets:
    """Which objects a study trains on and scores."""
    return ObjectSets(
        study_data.cutouts.labels, study_data.parts, None if study_data.test is None else study_data.tested
    )


def _plan_reuse(cells: list[PlannedCell], study_data: StudyData, budget: int, device: str) -> dict[str, Reuse]:
    """What is kept for each group of cells that share a network and its input; the first group has the first claim."""
    sets = sets_of(study_data)
    groups: dict[str, list[PlannedCell]] = {}
    for planned in cells:
        groups.setdefault(group_of(planned.cell), []).append(planned)
    found = {}
    for name, group in groups.items():
        prefixes = {p.cut: (p.prefix, p.crossing) for p in group}
        found[name] = plan_reuse([(p.cell, p.cut) for p in group], sets, prefixes, budget, device)
        budget -= sum(use.bytes for use in found[name].uses if use.keep)
    return found


def _priced(cells: list[PlannedCell], reuse: dict[str, Reuse], study_data: StudyData) -> Iterator[PlannedCell]:
    """The cells with their costs; a prefix whose activations are kept costs nothing here."""
    n = study_data.objects
    for planned in cells:
        cell, size = planned.cell, planned.cell.train_size
        steps, scorings = expected_steps(cell.recipe, size), expected_scorings(cell.recipe, size)
        suffix = sum(planned.flops) - planned.prefix
        kept = planned.cut in reuse[group_of(cell)].kept
        scoring, training = 0 if kept else planned.prefix, 0 if kept and not cell.recipe.shift else planned.prefix
        cost = steps * min(cell.recipe.batch, size) * (training + 3 * suffix)
        cost += (n["validation"] * (scorings + 1) + size + n["test"]) * (scoring + suffix)
        yield replace(planned, cost=_trainings(cell) * float(cost + STEP * steps))


def _trainings(cell: Cell) -> float:
    """How often a cell trains its network, counted in the images of one training."""
    if cell.inputs == IMAGES:
        return 1.0
    return NETWORK_FOLDS - 1.0 if STACK in WAYS[cell.inputs] else 0.01
