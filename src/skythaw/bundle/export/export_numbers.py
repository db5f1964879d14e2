"""From a cell of both to what its bundle holds of the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skythaw.bundle.export.choose_cell import finished_result
from skythaw.bundle.export.seed_mean import SeedMean
from skythaw.bundle.number_half import to_bytes
from skythaw.bundle.numbers_record import NumbersRecord
from skythaw.errors import LedgerError
from skythaw.stats.calibration import fit_temperature
from skythaw.stats.scored_sample import read_sample
from skythaw.study.ledger_rows import Entry
from skythaw.study.number_weights import read_number_model, read_stack
from skythaw.tuning.fusion import STACK

SCORED = ("seeds", "macro_f1", "accuracy", "per_class")


@dataclass(frozen=True)
class Halves:
    """The two finished cells that a cell of both is made of."""

    whole: Entry
    images: Entry
    table: Entry

    def record(self, facts: dict[str, Any], run: Path) -> NumbersRecord:
        """What the bundle says of the numbers."""
        classes, of_table = finished_result(self.whole).classes, finished_result(self.table)
        return NumbersRecord(
            names=of_table.number_names or (),
            kinds=of_table.number_kinds or {},
            ranges=of_table.number_ranges or {},
            model=of_table.head,  # type: ignore[arg-type]
            fusion=finished_result(self.whole).fusion,  # type: ignore[arg-type]
            temperature=self._temperature(run, classes),
            table_temperature=temperature_of(run, self.table, classes),
            scores={"images": scores_of(self.images, facts), "table": scores_of(self.table, facts)},
        )

    def _temperature(self, run: Path, classes: tuple[str, ...]) -> float:
        """Of both together: fitted on validation objects with numbers, for those without are judged by the image alone.

        What both say of them is to the bit what the image says.
        """
        keys = [self.whole.key, self.images.key]
        sample = read_sample(run, "validation", classes, keys)
        if sample is None or sample.missing:
            return temperature_of(run, self.whole, classes)
        both, image = (sample.log_probabilities(key) for key in keys)
        known = (both != image).any(1)
        return fit_temperature(both[known], sample.true[known]) if known.any() else 1.0

    def content(self, run: Path) -> bytes:
        """The file of the numbers."""
        stack = read_stack(run, self.whole.key) if finished_result(self.whole).fusion == STACK else None
        return to_bytes(read_number_model(run, self.table.key), stack)


@dataclass(frozen=True)
class Chosen:
    """What is exported."""

    run: Path
    facts: dict[str, Any]
    """of the run's report"""
    entry: Entry
    halves: Halves | None
    """of a cell of both"""
    seeds: SeedMean | None = None
    """where the answer is the mean of several"""

    @property
    def scores(self) -> dict[str, Any]:
        """Of what is exported, on test."""
        return self.seeds.scores if self.seeds else scores_of(self.entry, self.facts)

    @property
    def temperature(self) -> float:
        """Of the network, or of the mean of networks."""
        classes = finished_result(self.entry).classes
        return self.seeds.temperature if self.seeds else temperature_of(self.run, self.network, classes)

    @property
    def network(self) -> Entry:
        """The cell whose network it is."""
        return self.halves.images if self.halves else self.entry


def halves_of(entry: Entry, others: Sequence[Entry]) -> Halves | None:
    """What a cell of both is made of; None for any other cell.

    Raises
    ------
    LedgerError
        A half is not there, or not finished.
    """
    made_of = finished_result(entry).made_of
    if made_of is None:
        return None
    known = {each.key: each for each in others if each.result}
    for half in ("images", "table"):
        if made_of.get(half) not in known:
            raise LedgerError(f"the cell {entry.key} is made of {made_of.get(half)}, which is not finished in this run")
    return Halves(entry, known[made_of["images"]], known[made_of["table"]])


def scores_of(entry: Entry, facts: dict[str, Any]) -> dict[str, Any]:
    """Scores on test: of a cell itself, and of the seeds of its row."""
    row = next(row for row in facts["rows"] if entry.key in row["keys"])
    return {"own": finished_result(entry).scores["test"], **{name: row[name] for name in SCORED}}


def temperature_of(run: Path, entry: Entry, classes: tuple[str, ...]) -> float:
    """The temperature fitted on the validation set; 1 where the predictions are gone."""
    sample = read_sample(run, "validation", classes, [entry.key])
    return 1.0 if sample is None else fit_temperature(sample.log_probabilities(entry.key), sample.true)
