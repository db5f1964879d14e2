"""The numbers of a report, computed in one place: no plotting, no torch. Their form is on the page docs/report.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from skythaw.data.split import nested_order
from skythaw.report.choice import make_choice
from skythaw.report.plain_answer import plain_answer
from skythaw.report.statistics.chosen_cells import by_seed, completeness_and_purity, training_curves
from skythaw.report.statistics.depth_contest import MARGIN
from skythaw.report.statistics.evidence import Evidence, TriedDepths, gather
from skythaw.report.statistics.network_rivals import network_rivals
from skythaw.report.statistics.number_comparison import against_control, inputs_compared
from skythaw.report.statistics.number_rows import number_facts, number_rows
from skythaw.report.statistics.report_rows import (
    CONTEST,
    ReportRow,
    axes_of,
    finished_cells,
    probes,
    report_rows,
    row_facts,
)
from skythaw.report.statistics.weight_comparison import weights_compared
from skythaw.spec import IMAGES
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry
from skythaw.study.study_status import out_of_race, status

SCHEMA = 1
DROPPED = ("worse in the trial", "worse with the first seed")
"""what the fate of a setting is that a search trained no further"""
SHEET = 12
"""Objects of each class on the contact sheet."""


def report_facts(ledger: Ledger, margin: float = MARGIN) -> dict[str, Any]:
    """Everything a report says, as JSON-able numbers and words.

    Parameters
    ----------
    ledger
        of the run
    margin
        macro-F1 that a shallower depth may lose and still be recommended

    Returns
    -------
    dict
        ``rows`` (one a row of the table), ``recommended`` (one a network, strategy and training size), and what is
        behind them: docs/report.md has every name. Without predictions in the run folder there are no intervals
        (``low`` and ``high`` are None), no comparisons, and validation alone recommends.
    """
    entries = ledger.entries()
    axes = axes_of(ledger)
    finished = finished_cells(entries)
    every = report_rows(finished, axes)
    numbers = number_rows(ledger)
    raced = out_of_race(ledger, entries)
    stopped = {key for each in raced for key in each["trained"]}
    beside = [*numbers.control, *numbers.table]
    tried = _tried(entries, _search(ledger) or ())
    evidence = gather(ledger.folder, finished, every, margin, beside, stopped, tried) if finished else None
    scored = evidence.scored if evidence else None
    rows = [row_facts(row, scored) | {"by_seed": by_seed(row)} for row in every]
    inputs = inputs_compared(evidence, numbers.table) if evidence else []
    curves = evidence.size_curves() if evidence else []
    facts = {
        "schema": SCHEMA,
        "name": ledger.remark("name"),
        "classes": ledger.remark("classes"),
        "objects": ledger.remark("objects"),
        "warnings": ledger.remark("warnings") or [],
        "axes": list(axes),
        "rows": rows + [dict.fromkeys(axes) | number_facts(row, scored) for row in numbers.table],
        "control": [
            number_facts(row, scored) | {"network": against_control(evidence, row) if evidence else None}
            for row in numbers.control
        ],
        "inputs": inputs,
        "weights": weights_compared(evidence) if evidence else [],
        "probes": probes(finished, axes),
        "recommended": _recommended(every, rows, evidence),
        "alarms": [_alarm(entry, text) for entry, result in finished for text in result.alarms],
        "search": _search(ledger),
        "race": raced,
        "cells": {k: v for k, v in status(ledger).items() if k != "failures"},
        "data": _data(ledger, entries, evidence),
        "method": evidence.method() if evidence else None,
        "comparisons": evidence.comparisons() if evidence else [],
        "size_curves": [each for each in curves if "why" not in each],
        "no_size_law": [each for each in curves if "why" in each],
        "claims": evidence.claims(rows, inputs) if evidence else [],
        "failures": evidence.failures() if evidence else None,
    }
    return facts | _answered(facts, every, evidence, {entry.cell.recipe.lr for entry, _ in finished})


def _answered(
    facts: dict[str, Any], every: Sequence[ReportRow], evidence: Evidence | None, rates: set[float | str]
) -> dict[str, Any]:
    """The choice that the facts speak for, its sentences, and its cells one by one."""
    one_rate = float(min(rates)) if len(rates) == 1 and "auto" not in rates else None
    choice = make_choice(facts, network_rivals(evidence) if evidence else (), one_rate)
    chosen = [row for row in every if choice and list(row.keys) == choice["keys"]]
    return {
        "answer": " ".join(plain_answer(choice)),
        "choice": choice,
        "training": [curve for row in chosen for curve in training_curves(row)],
        "completeness_and_purity": [
            each for row in chosen if evidence for each in completeness_and_purity(row, evidence.sample)
        ],
    }


def _tried(entries: Sequence[Entry], standings: Sequence[dict[str, Any]]) -> dict[tuple[Any, ...], TriedDepths]:
    """By contest, the depths of the study, and those that a search dropped."""
    planned: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for entry in entries:
        planned[tuple(entry.cell.setting(name) for name in CONTEST)].add(entry.cell.depth)
    dropped: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for each in standings:
        if each["fate"] in DROPPED and "depth" in each:  # the first searches kept no depth
            dropped[each["backbone"], each["strategy"], each["train_size"]].add(each["depth"])
    return {key: TriedDepths(frozenset(depths), frozenset(dropped[key[:3]])) for key, depths in planned.items()}


def _search(ledger: Ledger) -> list[dict[str, Any]] | None:
    """How the settings of a search did; older ones numbered their rounds."""
    kept: list[dict[str, Any]] | None = ledger.remark("search")
    return kept and [{"round": f"round {each['rung'] + 1}", **each} for each in kept]


def _recommended(
    every: Sequence[ReportRow], rows: Sequence[dict[str, Any]], evidence: Evidence | None
) -> list[dict[str, Any]]:
    """For each backbone, strategy, training size and inputs, the row that is recommended.

    By the comparison of depths on test (``how`` is ``test``, see `Contest.recommended`); where there are no
    predictions, the best mean macro-F1 on validation (``validation``): the shallower on a tie, and a row with fewer
    finished seeds than another does not compete.
    """
    together: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(every):
        together[row.contest].append(i)
    main = set(evidence.main() if evidence else _largest(together))
    found = []
    for key, some in together.items():
        if evidence and key in evidence.contests:
            row = evidence.chosen[key][evidence.contests[key].recommended.depth]
            found.append(_shown(rows[every.index(row)], "test", key in main))
        else:
            best = max(some, key=lambda i: (len(every[i].cells), every[i].validation, -every[i].depth))
            found.append(_shown(rows[best], "validation", key in main))
    return found


def _largest(keys: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """For each backbone the largest training size, of the first strategy."""
    keys = list(keys)
    names = dict.fromkeys(key[0] for key in keys)
    rank = {key: (key[3] == IMAGES, key[1] == keys[0][1], key[2]) for key in keys}
    return [max((key for key in keys if key[0] == name), key=lambda key: rank[key]) for name in names]


def _shown(best: dict[str, Any], how: str, main: bool) -> dict[str, Any]:
    left_out = ("per_class", "confusion", "keys", "alarms", "peak_memory", "seconds")
    return {**{name: value for name, value in best.items() if name not in left_out}, "how": how, "main": main}


def _data(ledger: Ledger, entries: Iterable[Entry], evidence: Evidence | None) -> dict[str, Any]:
    """What the images are, how they were divided, and some of the test objects by class."""
    study = ledger.study
    sheet: dict[str, list[str]] = {}
    sizes = {entry.cell.pixels.size for entry in entries}
    if evidence:
        sample = evidence.sample
        order = nested_order(sample.true, seed=0)
        for i, name in enumerate(sample.classes):
            sheet[name] = [sample.ids[j] for j in order if sample.true[j] == i][:SHEET]
    return {
        "size": sizes.pop() if len(sizes) == 1 else None,
        "split": study.get("data", {}).get("split"),
        "division": ledger.remark("division"),
        "sha256": study.get("sha256"),
        "balance": ledger.remark("balance"),
        "columns": sorted(evidence.sample.numbers) if evidence else [],
        "numbers": ledger.remark("numbers") or [],
        "sheet": sheet,
    }


def _alarm(entry: Entry, text: str) -> dict[str, Any]:
    cell = entry.cell
    return {
        "key": entry.key,
        "network": cell.network,
        "backbone": cell.backbone,
        "depth": cell.depth,
        "train_size": cell.train_size,
        "seed": cell.seed,
        "alarm": text,
    }
