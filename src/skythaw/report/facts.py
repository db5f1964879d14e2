"""The numbers of a report, computed in one place: no plotting, no torch.

Every row is one backbone, strategy, training size and depth (and one value of each further axis, such as crop), over
its seeds. Where the study tries several learning rates, each row has the rate with the best mean validation score: the
rate is a setting, chosen on validation, and not a result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from skythaw.spec import Pixels, Recipe
from skythaw.study.ledger import Entry, Ledger
from skythaw.study.result import Result
from skythaw.study.status import status

SCHEMA = 1
CHOSEN = ("lr",)
"""Axes that validation decides, for each row."""
PROBED = ("class_weights", "select", "threads")
"""Of the recipe, what an exactly solved head depends on."""
MAIN = ("backbone", "strategy", "train_size", "depth")

Finished = tuple[Entry, Result]


def report_facts(ledger: Ledger) -> dict[str, Any]:
    """Everything a report says, as JSON-able numbers and words.

    Returns
    -------
    dict
        ``schema``, ``name``, ``classes``, ``objects``, ``warnings``, ``axes`` (further axes, as columns of the rows),
        ``rows``, ``probes`` (the head solved exactly on frozen features), ``recommended``, ``alarms``, ``search``
        (of a search: how each setting did in each rung; else None), and ``cells`` (counts by state, as `skythaw study
        status` gives them)
    """
    entries = ledger.entries()
    grid = ledger.study["grid"]
    axes = [name for name in grid if name in {*Pixels.model_fields, *Recipe.model_fields} and name not in CHOSEN]
    finished = [(e, e.result) for e in entries if e.result is not None and "test" in e.result.scores]
    rows = [_row(cells, axes) for cells in _settled(_grouped(finished, axes))]
    return {
        "schema": SCHEMA,
        "name": ledger.remark("name"),
        "classes": ledger.remark("classes"),
        "objects": ledger.remark("objects"),
        "warnings": ledger.remark("warnings") or [],
        "axes": axes,
        "rows": rows,
        "probes": _probes(finished, axes),
        "recommended": _recommended(rows, axes),
        "alarms": [_alarm(entry, text) for entry, result in finished for text in result.alarms],
        "search": ledger.remark("search"),
        "cells": {k: v for k, v in status(ledger).items() if k != "failures"},
    }


def _grouped(finished: Iterable[Finished], axes: Sequence[str]) -> dict[tuple[Any, ...], list[Finished]]:
    """Finished cells by everything but seed and the chosen axes, in the order of the study."""
    groups: dict[tuple[Any, ...], list[Finished]] = defaultdict(list)
    for entry, result in finished:
        groups[tuple(_setting(entry, name) for name in (*MAIN, *axes))].append((entry, result))
    return groups


def _settled(groups: dict[tuple[Any, ...], list[Finished]]) -> Iterable[list[Finished]]:
    """Of each group, the cells with the learning rate that is best on validation (the smaller one on a tie).

    A rate with fewer finished seeds than another does not compete with it.
    """
    for cells in groups.values():
        by_rate: dict[Any, list[Finished]] = defaultdict(list)
        for entry, result in cells:
            by_rate[entry.cell.recipe.lr].append((entry, result))
        yield max(by_rate.values(), key=lambda some: (len(some), _mean_validation(some), -some[0][1].lr))


def _mean_validation(cells: Iterable[Finished]) -> float:
    return fmean(-math.inf if r.peak_score is None else r.peak_score for _, r in cells)


def _row(cells: list[Finished], axes: Sequence[str]) -> dict[str, Any]:
    """One line of the table: means over seeds, with their spread."""
    entry, first = cells[0]
    results = [result for _, result in cells]

    def over_seeds(part: str, score: str) -> dict[str, float | None]:
        return _spread(result.scores[part][score] for result in results)

    return {
        **{name: _setting(entry, name) for name in (*MAIN, *axes)},
        "blocks": first.blocks,
        "tpr": first.tpr,
        "tlr": first.tlr,
        "tfr": first.tfr,
        "seeds": len(results),
        "macro_f1": over_seeds("test", "macro_f1"),
        "accuracy": over_seeds("test", "accuracy"),
        "balanced_accuracy": over_seeds("test", "balanced_accuracy"),
        "log_loss": over_seeds("test", "log_loss"),
        "validation_macro_f1": over_seeds("validation", "macro_f1"),
        "validation_log_loss": over_seeds("validation", "log_loss"),
        "per_class": {
            name: {
                score: _spread(result.scores["test"]["per_class"][name][score] for result in results)
                for score in ("precision", "recall", "f1")
            }
            for name in first.classes
        },
        "lr": _spread(result.lr for result in results),
        "lrs": sorted({result.lr for result in results}),
        "peak_epoch": fmean(result.peak_epoch for result in results),
        "gap": fmean(result.gap for result in results if result.gap is not None),
        "seconds": fmean(result.seconds["total"] for result in results),
        "peak_memory": max(result.peak_memory for result in results),
        "parameters": first.parameters,
        "trained_parameters": first.trained_parameters,
        "file_bytes": first.file_bytes,
        "latency": _spread(result.latency for result in results if result.latency is not None),
        "alarms": sum(bool(result.alarms) for result in results),
        "keys": [result.key for result in results],
    }


def _probes(finished: Iterable[Finished], axes: Sequence[str]) -> list[dict[str, Any]]:
    """The exact linear probe of each backbone and training size: what depth 0 comes to without a learning rate."""
    names = ("backbone", "train_size", *(axis for axis in axes if axis in (*Pixels.model_fields, *PROBED)))
    groups: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = defaultdict(dict)
    for entry, result in finished:
        if result.probe is not None:  # the same for every strategy and rate: one a seed
            groups[tuple(_setting(entry, name) for name in names)][entry.cell.seed] = result.probe
    return [
        {
            **dict(zip(names, values, strict=True)),
            "seeds": len(probes),
            "macro_f1": _spread(p["scores"]["test"]["macro_f1"] for p in probes.values()),
            "accuracy": _spread(p["scores"]["test"]["accuracy"] for p in probes.values()),
            "log_loss": _spread(p["scores"]["test"]["log_loss"] for p in probes.values()),
            "validation_macro_f1": _spread(p["scores"]["validation"]["macro_f1"] for p in probes.values()),
            "strengths": sorted({p["strength"] for p in probes.values()}),
        }
        for values, probes in groups.items()
    ]


def _recommended(rows: list[dict[str, Any]], axes: Sequence[str]) -> list[dict[str, Any]]:
    """For each backbone, strategy and training size, the row with the best mean macro-F1 on validation.

    A row with fewer finished seeds than another does not compete with it. Further axes compete too: the recommendation
    names their best values. On a tie the shallower depth is taken. The test scores played no part in the choice.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["backbone"], row["strategy"], row["train_size"]].append(row)
    shown = (
        *MAIN,
        *axes,
        "blocks",
        "tpr",
        "tlr",
        "tfr",
        "seeds",
        "lr",
        "lrs",
        "validation_macro_f1",
        "macro_f1",
        "accuracy",
    )
    return [{name: best[name] for name in shown} for group in groups.values() for best in [max(group, key=_rank)]]


def _rank(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["seeds"], row["validation_macro_f1"]["mean"], -row["depth"]


def _setting(entry: Entry, name: str) -> Any:
    for place in (entry.cell, entry.cell.pixels, entry.cell.recipe):
        if name in type(place).model_fields:
            return getattr(place, name)
    raise KeyError(name)


def _spread(values: Iterable[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation (None for a single value)."""
    values = list(values)
    return {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None}


def _alarm(entry: Entry, text: str) -> dict[str, Any]:
    cell = entry.cell
    return {
        "key": entry.key,
        "backbone": cell.backbone,
        "depth": cell.depth,
        "train_size": cell.train_size,
        "seed": cell.seed,
        "alarm": text,
    }
