"""Which cells of a study compete: the settings of one network, strategy and training size. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from skythaw.study.plan import PlannedCell

ContestKey = tuple[str, str, int]
"""network with its weights, strategy, training size: settings of one contest compete with each other"""


@dataclass(frozen=True)
class TrialSetting:
    """A setting: the cells that differ by their seed alone."""

    name: str
    cells: tuple[PlannedCell, ...]

    @property
    def first(self) -> PlannedCell:
        """Its cell with the first seed."""
        return self.cells[0]

    @property
    def frozen(self) -> bool:
        """Whether it trains a head alone."""
        return self.first.cell.depth == 0

    @property
    def cost(self) -> float:
        """FLOPs of all its cells."""
        return sum(planned.cost for planned in self.cells)


Contests = dict[ContestKey, list[TrialSetting]]


def contests(cells: Iterable[PlannedCell], axes: Sequence[str]) -> Contests:
    """The settings of each contest, in the order of the study; `axes` are those beside the depth."""
    groups: dict[ContestKey, dict[str, list[PlannedCell]]] = defaultdict(lambda: defaultdict(list))
    for planned in cells:
        cell = planned.cell
        name = ", ".join([f"depth {cell.depth}", *(f"{axis} {cell.setting(axis)}" for axis in axes)])
        groups[cell.network, cell.strategy, cell.train_size][name].append(planned)
    return {
        contest: [TrialSetting(name, tuple(some)) for name, some in settings.items()]
        for contest, settings in groups.items()
    }
