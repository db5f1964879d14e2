"""A study that is being run: where and how, who watches, and what is open. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from skythaw.engines.engine import Engine
from skythaw.machine.device import device_kind, parse_device
from skythaw.study.cell_result import Result
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry
from skythaw.study.on_cluster import Cluster
from skythaw.study.plan import Plan, PlannedCell
from skythaw.tuning.frozen.reuse_plan import BUDGET

Kind = Literal["cell", "trial", "rate", "both"]
"""what is run: cells of the study on images, trials of a search, trials of learning rates, or cells of both"""


@dataclass(frozen=True)
class RunSettings:
    """Where and how a study runs on this machine. Only the device decides numbers: a run folder keeps to one kind."""

    out: Path
    cache: Path
    engine: str = "processes"
    workers: int | None = 1
    """cells at a time; None is as many as a cluster has room for"""
    device: str = "auto"
    cache_size: int = BUDGET
    """bytes that frozen activations may take in the cache folder; 0 keeps none, and reads none"""
    compiled: bool = False
    """whether the trained part of networks is compiled; it decides last bits, as the device does"""
    control: bool = True
    """whether a forest on numbers measured from the same images stands beside the networks; it takes seconds"""
    cluster: Cluster = field(default_factory=Cluster)
    """how an engine that uses a cluster does so"""

    @property
    def device_kind(self) -> str:
        """``cpu``, ``cuda`` ...; of a cluster the one that was named, which this machine need not have."""
        if self.cluster.address and self.device != "auto":
            return parse_device(self.device).type
        return device_kind(self.device)


class Watcher:
    """Told what happens while a study runs. This one says nothing; the command line's draws progress bars."""

    wants_epochs: bool = False
    """whether `epoch` is to be called"""

    def step(self, text: str) -> None:
        """What is begun now, of work that has several steps."""

    def decoding(self, images: Iterable[Any], total: int) -> Iterable[Any]:
        """Wrap the pass over the images that decodes them."""
        return images

    def measuring(self, cells: Iterable[Any], total: int) -> Iterable[Any]:
        """Wrap the pass over the cells without a network."""
        return cells

    def noted(self, text: str) -> None:
        """How something was read."""

    def warned(self, text: str) -> None:
        """Something the user should know."""

    def filling(self, images: int) -> None:
        """So many images, each in a view, are about to be passed through frozen prefixes; then 0 when it is over."""

    def filled(self, images: int) -> None:
        """Some of them are done."""

    def started(self, plan: Plan, done: set[str], what: Kind) -> None:
        """Cells are about to run; `done` has the keys of those that need not.

        `what` they are: see `Kind`.
        """

    def epoch(self, planned: PlannedCell, number: int, point: Mapping[str, float]) -> None:
        """A cell that is training was scored: entry `number` of the curves of its result.

        Only where the engine can tell; `scored` brings all of them.
        """

    def scored(self, planned: PlannedCell, result: Result) -> None:
        """A cell is done, and this is what it gave; `finished` follows."""

    def finished(self, planned: PlannedCell, error: str | None) -> None:
        """A cell is done, or has failed."""


@dataclass(frozen=True)
class OpenStudy:
    """A study that is being run."""

    plan: Plan
    ledger: Ledger
    engine: Engine
    setting: RunSettings
    watcher: Watcher

    def entries(self) -> list[Entry]:
        """What the ledger has of cells and of trials."""
        return [*self.ledger.entries(), *self.ledger.entries("trial")]
