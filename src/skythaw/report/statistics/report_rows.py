"""The rows of a report: one backbone, strategy, training size and depth (and value of each further axis), over seeds.

Where the study tries several learning rates, each row has the rate with the best mean validation score: the rate is a
setting, chosen on validation, and not a result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from skythaw.spec import Pixels, Recipe
from skythaw.stats.bootstrap import LARGEST, PER_CLASS, Bootstrap, Scores
from skythaw.stats.bootstrap import MAIN as MAIN_SCORES
from skythaw.stats.intervals import SeedSpread, mean_draws, score_limits, spread_within, stream_of, unlike
from skythaw.study.cell_result import Result
from skythaw.study.convergence import together
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry

CHOSEN = ("lr",)
"""Axes that validation decides, for each row."""
PROBED = ("class_weights", "select", "threads")
"""Of the recipe, what an exactly solved head depends on."""
CONTEST = ("network", "strategy", "train_size", "inputs")
"""what depths are compared within; a network is a backbone with its weights"""
MAIN = (*CONTEST, "depth")
NAMES = ("backbone", "weights")
"""what the name of a network consists of"""

Finished = tuple[Entry, Result]


@dataclass(frozen=True)
class ReportRow:
    """The cells of one setting, by seed."""

    cells: tuple[Finished, ...]
    axes: tuple[str, ...]

    @property
    def results(self) -> list[Result]:
        return [result for _, result in self.cells]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(entry.cell.seed for entry, _ in self.cells)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(result.key for result in self.results)

    @cached_property
    def setting(self) -> dict[str, Any]:
        """Backbone, weights, strategy, training size, depth, and the further axes."""
        return {name: self.cells[0][0].cell.setting(name) for name in (*NAMES, *MAIN, *self.axes)}

    @property
    def contest(self) -> tuple[Any, ...]:
        """What it is compared within: see `CONTEST`."""
        return tuple(self.setting[name] for name in CONTEST)

    @property
    def depth(self) -> int:
        depth: int = self.setting["depth"]
        return depth

    @property
    def validation(self) -> float:
        """Mean macro-F1 on validation."""
        return fmean(result.scores["validation"]["macro_f1"] for result in self.results)


def axes_of(ledger: Ledger) -> tuple[str, ...]:
    """The study's further axes, beside those that validation decides."""
    known = {*Pixels.model_fields, *Recipe.model_fields}
    return tuple(name for name in ledger.study["grid"] if name in known and name not in CHOSEN)


def finished_cells(entries: Iterable[Entry]) -> list[Finished]:
    """Those that were scored on test (a search's trials were not)."""
    return [(e, e.result) for e in entries if e.result is not None and "test" in e.result.scores]


def report_rows(finished: Iterable[Finished], axes: tuple[str, ...]) -> list[ReportRow]:
    """The rows, each with the learning rate that is best on validation (the smaller one on a tie).

    A rate with fewer finished seeds than another does not compete with it.
    """
    by_rate = rows_by_rate(finished, axes)
    return [max(some.values(), key=lambda row: (len(row.cells), _peak(row), -row.results[0].lr)) for some in by_rate]


def rows_by_rate(finished: Iterable[Finished], axes: tuple[str, ...]) -> list[dict[Any, ReportRow]]:
    """For every row of the report, in the order of the study, what it is with each learning rate that was tried."""
    groups: dict[tuple[Any, ...], dict[Any, list[Finished]]] = defaultdict(lambda: defaultdict(list))
    for entry, result in finished:
        setting = tuple(entry.cell.setting(name) for name in (*MAIN, *axes))
        groups[setting][entry.cell.recipe.lr].append((entry, result))
    return [{rate: ReportRow(tuple(cells), axes) for rate, cells in some.items()} for some in groups.values()]


def _peak(row: ReportRow) -> float:
    return fmean(-math.inf if r.peak_score is None else r.peak_score for r in row.results)


def row_facts(row: ReportRow, scored: ScoredRows | None) -> dict[str, Any]:
    """One row of the table: means over seeds, with their spread, and intervals where there are draws."""
    results = row.results
    first = results[0]

    def over_seeds(name: str, *path: str) -> dict[str, float | None]:
        low, high = scored.interval(row, name) if scored else (None, None)
        return {**_spread(_at(result.scores["test"], path or (name,)) for result in results), "low": low, "high": high}

    def on_validation(score: str) -> dict[str, float | None]:
        return _spread(result.scores["validation"][score] for result in results)

    return {
        **row.setting,
        "blocks": first.blocks,
        "tpr": first.tpr,
        "tlr": first.tlr,
        "tfr": first.tfr,
        "seeds": len(results),
        **{score: over_seeds(score) for score in MAIN_SCORES},
        "validation_macro_f1": on_validation("macro_f1"),
        "validation_accuracy": on_validation("accuracy"),
        "validation_log_loss": on_validation("log_loss"),
        "per_class": {
            name: {score: over_seeds(f"{score} {name}", "per_class", name, score) for score in PER_CLASS}
            for name in first.classes
        },
        "confusion": _confusion(results),
        "lr": _spread(result.lr for result in results),
        "lrs": sorted({result.lr for result in results}),
        "curves": _curves(results),
        "peak_epoch": _mean(result.peak_epoch for result in results if result.peak_epoch),
        "gap": _mean(result.gap for result in results if result.gap is not None),
        "seconds": fmean(result.seconds["total"] for result in results),
        "peak_memory": max(result.peak_memory for result in results),
        "parameters": first.parameters,
        "trained_parameters": first.trained_parameters,
        "file_bytes": first.file_bytes,
        "latency": _spread(result.latency for result in results if result.latency is not None),
        "alarms": sum(bool(result.alarms) for result in results),
        "converged": not together(results),
        "not_converged": list(together(results)),
        "keys": list(row.keys),
    }


class ScoredRows:
    """The scores of every row in every draw, and how they spread between seeds within a contest."""

    def __init__(self, every: Sequence[ReportRow], bootstrap: Bootstrap) -> None:
        self._sample = bootstrap.sample
        known = self._sample.said
        self._scores = {row.keys: bootstrap.scores(row.keys) for row in every if set(row.keys) <= set(known)}
        self._together: dict[tuple[Any, ...], list[ReportRow]] = defaultdict(list)
        self._known: dict[tuple[tuple[Any, ...], str], list[SeedSpread]] = {}
        for row in every:
            if row.keys in self._scores:
                self._together[self._alike(row)].append(row)

    def __contains__(self, row: ReportRow) -> bool:
        return row.keys in self._scores

    def scores(self, row: ReportRow) -> Scores:
        return self._scores[row.keys]

    def _spreads(self, row: ReportRow, name: str) -> list[SeedSpread]:
        """The spread of a score between seeds, of each row that is alike but for its depth."""
        together = self._alike(row)
        if (together, name) not in self._known:
            scores = [self.scores(each)[name] for each in self._together[together]]
            apart = unlike(scores)
            pooled = spread_within([each for i, each in enumerate(scores) if i not in apart])
            self._known[together, name] = [
                spread_within([each]) if i in apart else pooled for i, each in enumerate(scores)
            ]
        return self._known[together, name]

    @staticmethod
    def _alike(row: ReportRow) -> tuple[Any, ...]:
        """What the rows have in common whose spread between seeds is pooled: all but the depth."""
        return tuple(value for name, value in row.setting.items() if name != "depth")

    def interval(self, row: ReportRow, name: str) -> tuple[float | None, float | None]:
        if row not in self or name not in self.scores(row):
            return None, None
        spread = self._spreads(row, name)[self._together[self._alike(row)].index(row)]
        largest = LARGEST.get(name, 1.0)
        drawn = mean_draws(self.scores(row)[name], spread, stream_of(row.keys), largest)
        return score_limits(drawn, self._sample.drawn(name), largest)


def _at(scores: dict[str, Any], path: Sequence[str]) -> float:
    for name in path:
        scores = scores[name]
    return scores  # type: ignore[return-value]


def _curves(results: Sequence[Result]) -> dict[str, list[float]]:
    """Means over seeds by epoch, as far as all seeds got."""
    epochs = min(len(result.curves) for result in results)
    names = ("train_loss", "train_accuracy", "accuracy", "macro_f1", "log_loss")
    return {
        name: [fmean(result.curves[i][name] for result in results) for i in range(epochs)]
        for name in names
        if all(name in each for result in results for each in result.curves[:epochs])
    }


def _confusion(results: Sequence[Result]) -> list[list[float]] | None:
    """Objects of each true class (rows) that were given each class, mean over seeds."""
    tables = [result.scores["test"].get("confusion") for result in results]
    if not all(tables):
        return None
    return [[fmean(values) for values in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]


def probes(finished: Iterable[Finished], axes: Sequence[str]) -> list[dict[str, Any]]:
    """The exact linear probe of each backbone and training size: what depth 0 comes to without a learning rate."""
    names = ("network", *NAMES, "train_size", *(axis for axis in axes if axis in (*Pixels.model_fields, *PROBED)))
    groups: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = defaultdict(dict)
    for entry, result in finished:
        if result.probe is not None:  # the same for every strategy and rate: one a seed
            groups[tuple(entry.cell.setting(name) for name in names)][entry.cell.seed] = result.probe
    return [
        {
            **dict(zip(names, values, strict=True)),
            "seeds": len(found),
            "macro_f1": _spread(p["scores"]["test"]["macro_f1"] for p in found.values()),
            "accuracy": _spread(p["scores"]["test"]["accuracy"] for p in found.values()),
            "log_loss": _spread(p["scores"]["test"]["log_loss"] for p in found.values()),
            "validation_macro_f1": _spread(p["scores"]["validation"]["macro_f1"] for p in found.values()),
            "strengths": sorted({p["strength"] for p in found.values()}),
        }
        for values, found in groups.items()
    ]


def _spread(values: Iterable[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation (None for a single value; both None of nothing)."""
    values = list(values)
    return {"mean": _mean(values), "std": stdev(values) if len(values) > 1 else None}


def _mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    values = list(values)
    return fmean(values) if values else None
