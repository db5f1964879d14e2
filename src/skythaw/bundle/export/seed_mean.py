"""The seeds of one setting as one classifier, for `skythaw export --ensemble`: which they are, and what they score.

Scores and temperature are those of the mean itself, from what its networks said of the objects of validation and test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skythaw.bundle.export.choose_cell import finished_result
from skythaw.bundle.members import MOST, Member, mean_of_networks
from skythaw.errors import LedgerError
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.calibration import fit_temperature, tempered
from skythaw.stats.intervals import share_limits
from skythaw.stats.scored_sample import Sample, read_sample
from skythaw.study.ledger_rows import Entry
from skythaw.tuning.scores import all_scores

KEY = "mean"
PER_CLASS = ("precision", "recall", "f1")


@dataclass(frozen=True)
class SeedMean:
    """Finished cells that differ in their seeds alone, the one that leads first."""

    entries: tuple[Entry, ...]
    members: tuple[Member, ...]
    temperature: float
    """of the mean of all"""
    scores: dict[str, Any]
    """of the mean on test; the intervals are of other objects, with these networks"""


def seed_mean(entry: Entry, entries: Sequence[Entry], facts: dict[str, Any], run: Path) -> SeedMean:
    """A cell together with the other seeds of its setting.

    Raises
    ------
    LedgerError
        There is no other seed, or all gave one network; there are too many; or predictions are gone.
    """
    row = next(row for row in facts["rows"] if entry.key in row["keys"])
    done = {each.key: each for each in entries if each.result}
    others = [done[key] for key in row["keys"] if key in done and key != entry.key]
    networks = {finished_result(each).weights_sha256: each for each in reversed([entry, *others])}
    chosen = (entry, *(each for each in others if each in networks.values()))
    if len(networks) < 2:
        why = "all its seeds gave the same network" if others else "it has one seed"
        raise LedgerError(f"--ensemble takes the mean of several seeds, and of the cell {entry.key[:12]} {why}")
    if len(chosen) > MOST:
        raise LedgerError(f"--ensemble takes at most {MOST} seeds, and the cell {entry.key[:12]} has {len(chosen)}")
    return _scored(chosen, run)


def _scored(entries: tuple[Entry, ...], run: Path) -> SeedMean:
    classes, keys = finished_result(entries[0]).classes, [each.key for each in entries]
    validation, test = (_sample(run, part, classes, keys) for part in ("validation", "test"))
    members = tuple(
        Member(
            cell=each.key,
            seed=each.cell.seed,
            temperature=fit_temperature(validation.log_probabilities(each.key), validation.true),
        )
        for each in entries
    )
    temperature = fit_temperature(_mean(validation, members), validation.true)
    return SeedMean(entries, members, temperature, _scores(test, tempered(_mean(test, members), temperature)))


def _sample(run: Path, part: str, classes: Sequence[str], keys: Sequence[str]) -> Sample:
    sample = read_sample(run, part, classes, keys)
    if sample is None or sample.missing:
        gone = keys[0] if sample is None else sample.missing[0]
        raise LedgerError(f"--ensemble needs what its networks said of {part}; it is gone of the cell {gone[:12]}")
    return sample


def _mean(sample: Sample, members: Sequence[Member]) -> np.ndarray:
    return mean_of_networks([sample.log_probabilities(each.cell) for each in members], members)


def _scores(test: Sample, log_p: np.ndarray) -> dict[str, Any]:
    said, loss = log_p.argmax(1).astype(np.int16), -log_p[np.arange(len(test)), test.true]
    draws = Bootstrap(replace(test, said={KEY: said}, loss={KEY: loss.astype(np.float32)})).scores([KEY])

    def interval(name: str) -> dict[str, float]:
        low, high = share_limits(draws[name][0], test.drawn(name))
        return {"mean": float(draws[name][0, 0]), "low": low, "high": high}

    return {
        "own": all_scores(np.exp(log_p), test.true, test.classes),
        "seeds": 1,
        "macro_f1": interval("macro_f1"),
        "accuracy": interval("accuracy"),
        "per_class": {name: {score: interval(f"{score} {name}") for score in PER_CLASS} for name in test.classes},
    }
