"""Which frozen activations are worth keeping: decided from FLOPs, bytes and a budget before anything runs. No torch.

The decision changes no number of any cell, only how long it takes. For each cut of a network the study's cells are
asked how often they will send an image through the prefix, and how many different images in different views these are.
Keeping the cut pays if the passes saved cost more than writing and reading what crosses it. One pass yields all kept
cuts at once, so its price is that of the longest kept prefix.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from skythaw.data.split import Parts, nested_order
from skythaw.spec import Cell
from skythaw.tuning.epoch_draw import draw
from skythaw.tuning.training_pace import expected_scorings, expected_steps

FLOPS = {"cpu": 6e10, "cuda": 1e13, "mps": 1e12}
"""a second and core, or GPU, in a frozen prefix: fast, so that what is saved is rather thought too small. Those of GPUs
are estimates that were not measured"""
READ, WRITE = 5e8, 2e8
"""bytes a second: slow, so that what keeping costs is rather thought too large"""
BUDGET = 20 * 10**9
"""bytes that kept activations may take, if the user says nothing"""
VIEWS = 8
GROUP = ("backbone", "weights", "weights_sha256", "pixels", "data_sha256", "test_sha256", "skip_broken")


@dataclass
class Demand:
    """What some cells ask of the images of one data set: bool arrays of which are needed."""

    train: np.ndarray
    """[view, object], in the precision that is trained on"""
    score: np.ndarray
    """[1, object], in the first view, float32"""
    test: np.ndarray
    """[1, object of an external test set], in the first view, float32; without objects if there is none"""

    @property
    def pairs(self) -> int:
        """Images in different views."""
        return int(self.train.sum() + self.score.sum() + self.test.sum())


class ObjectSets:
    """Which objects a study trains on and scores.

    Parameters
    ----------
    labels
        class of each object of the data [object]
    parts
        how they are divided
    test
        bool [object of an external test set]: those that are scored; None without one
    """

    def __init__(self, labels: np.ndarray, parts: Parts, test: np.ndarray | None) -> None:
        self._labels, self._pool = labels, parts.train
        self.score = np.zeros((1, len(labels)), dtype=bool)
        self.score[0, parts.validation] = self.score[0, parts.test] = True
        self.test = np.zeros((1, 0), dtype=bool) if test is None else test[None]
        self._validation = len(parts.validation)
        self._tested = len(parts.test) if test is None else int(test.sum())
        self._orders: dict[int, np.ndarray] = {}
        self._trained: dict[str, np.ndarray] = {}

    def drawn(self, cell: Cell) -> np.ndarray:
        """The objects that a cell trains on, int [object]."""
        if cell.seed not in self._orders:
            self._orders[cell.seed] = self._pool[nested_order(self._labels[self._pool], cell.seed)]
        return self._orders[cell.seed][: cell.train_size]

    def trained(self, cells: Iterable[Cell]) -> np.ndarray:
        """What some cells train on, in which views: bool [view, object]."""
        needed = np.zeros((VIEWS, len(self._labels)), dtype=bool)
        for cell in cells:
            recipe = cell.recipe
            what = f"{cell.train_size} {cell.seed} {recipe.views} {recipe.shift} {recipe.epochs} {cell.depth == 0}"
            if what not in self._trained:
                self._trained[what] = self._of(cell)
            needed |= self._trained[what]
        return needed

    def passes(self, cell: Cell) -> int:
        """How often a cell sends an image through its prefix, where that can be read instead."""
        recipe, n = cell.recipe, cell.train_size
        training = n if recipe.shift else n + expected_steps(recipe, n) * min(recipe.batch, n)
        training += recipe.views * n if cell.depth == 0 else 0  # the head is solved on all views as well
        return training + self._validation * (expected_scorings(recipe, n) + 1) + self._tested

    def _of(self, cell: Cell) -> np.ndarray:
        needed, mine = np.zeros((VIEWS, len(self._labels)), dtype=bool), self.drawn(cell)
        needed[0, mine] = True  # scored after training
        recipe = cell.recipe
        if recipe.shift:
            return needed
        if recipe.epochs == "auto" or cell.depth == 0:
            needed[: recipe.views, mine] = True
            return needed
        for epoch in range(1, recipe.epochs + 1):
            needed[draw(len(mine), recipe, cell.seed, epoch).views, mine] = True
        return needed


@dataclass(frozen=True)
class Use:
    """One cut of one network, and what the study asks of it."""

    cell: Cell
    """any of those that use it"""
    depth: int
    prefix: int
    """FLOPs of the prefix for one image"""
    passes: int
    """how often the study sends an image through the prefix, if nothing is kept"""
    train_pairs: int
    score_pairs: int
    """images in different views: trained on, and scored"""
    values: int | None
    """numbers that cross, for one image; None if there is no cut"""
    speed: float
    """`FLOPS` of the device"""
    keep: bool = False
    why: str = ""

    @property
    def bytes(self) -> int:
        """Of all that would be kept."""
        values = self.values or 0
        return values * (self.train_pairs * _itemsize(self.cell, self.depth) + 4 * self.score_pairs)

    @property
    def saved(self) -> float:
        """Seconds of one core, or of a GPU: passes less reading and writing, without the pass that fills it."""
        each = self.bytes / max(self.train_pairs + self.score_pairs, 1)
        return self.passes * (self.prefix / self.speed - each / READ) - self.bytes / WRITE


@dataclass(frozen=True)
class Reuse:
    """The cells of a study that share a network and its input, and what is kept for them."""

    uses: tuple[Use, ...]
    """one for each depth, from the longest prefix to the shortest"""
    demand: Demand = field(repr=False)
    """of the kept cuts together"""

    @property
    def kept(self) -> tuple[int, ...]:
        """The depths that are kept."""
        return tuple(use.depth for use in self.uses if use.keep)

    @property
    def flops(self) -> float:
        """Of the pass that fills what is kept."""
        return float(self.demand.pairs * max((use.prefix for use in self.uses if use.keep), default=0))


def group_of(cell: Cell) -> str:
    """Cells of one group may share activations."""
    shared = cell.model_dump_json(include=set(GROUP))
    return f"{shared} {cell.recipe.threads} {cell.recipe.activations}"


def plan_reuse(
    cells: Iterable[tuple[Cell, int]],
    sets: ObjectSets,
    prefixes: Mapping[int, tuple[int, int | None]],
    budget: int,
    device: str = "cpu",
) -> Reuse:
    """Decide for the cells of one group.

    Parameters
    ----------
    cells
        each with the depth of its cut
    sets
        which objects there are
    prefixes
        for each depth of cut, FLOPs of the prefix and how many numbers cross
    budget
        bytes
    device
        where the cells run: ``cpu`` or ``cuda``
    """
    by_depth: dict[int, list[Cell]] = defaultdict(list)
    for cell, depth in cells:
        by_depth[depth].append(cell)
    demands = {depth: Demand(sets.trained(group), sets.score, sets.test) for depth, group in by_depth.items()}
    uses = []
    for depth, group in sorted(by_depth.items()):
        flops, values = prefixes[depth]
        uses.append(
            Use(
                cell=group[0],
                depth=depth,
                prefix=flops,
                passes=sum(sets.passes(cell) for cell in group),
                train_pairs=int(demands[depth].train.sum()),
                score_pairs=int(demands[depth].score.sum() + demands[depth].test.sum()),
                values=values,
                speed=FLOPS[device],
            )
        )
    wanted, kept = _choose(uses, demands, None), _choose(uses, demands, budget)
    chosen = [replace(use, keep=use.depth in kept, why=_reason(use, kept, wanted)) for use in uses]
    return Reuse(tuple(chosen), _together([demands[depth] for depth in kept], demands))


def _together(kept: list[Demand], every: Mapping[int, Demand]) -> Demand:
    some = next(iter(every.values()))
    if not kept:
        return Demand(*(np.zeros_like(part) for part in (some.train, some.score, some.test)))
    return Demand(np.logical_or.reduce([demand.train for demand in kept]), some.score, some.test)


def _choose(uses: list[Use], demands: Mapping[int, Demand], budget: int | None) -> set[int]:
    """The cuts to keep: of all choices of the longest prefix, each within the budget, the one that saves most."""
    best, best_saving = set[int](), 0.0
    for longest in uses:
        kept = [use for use in uses if use.prefix <= longest.prefix and use.values and use.saved > 0]
        if budget is not None:
            kept = _within(kept, budget)
        if longest not in kept:
            continue
        pairs = _together([demands[use.depth] for use in kept], demands).pairs
        saving = sum(use.saved for use in kept) - pairs * longest.prefix / longest.speed
        if saving > best_saving:
            best, best_saving = {use.depth for use in kept}, saving
    return best


def _reason(use: Use, kept: set[int], wanted: set[int]) -> str:
    if use.depth in kept:
        return f"{use.passes} passes, {use.train_pairs + use.score_pairs} of them different"
    if use.depth in wanted:
        return "would take more than the cache may hold"
    if not use.prefix:
        return "nothing is frozen below it"
    if use.values is None:
        return "the network can't be cut there"
    return "computing it again costs less than keeping it"


def _within(uses: list[Use], budget: int) -> list[Use]:
    """Without what saves least for its bytes, until the rest keeps to the budget."""
    total, kept = sum(use.bytes for use in uses), list(uses)
    for use in sorted(uses, key=lambda use: use.saved / max(use.bytes, 1)):
        if total <= budget:
            break
        total -= use.bytes
        kept.remove(use)
    return kept


def _itemsize(cell: Cell, depth: int) -> int:
    return 2 if cell.recipe.activations == "float16" and depth else 4
