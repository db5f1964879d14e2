"""The cells of a row one by one: their scores, how they trained, and how complete and pure each class is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from skythaw.report.statistics.report_rows import ReportRow
from skythaw.stats.scored_sample import Sample
from skythaw.study.cell_result import Result
from skythaw.study.convergence import not_converged

CURVES = ("train_loss", "log_loss", "train_accuracy", "accuracy", "macro_f1")
LEVELS = np.linspace(0.02, 1.0, 50)
"""completeness at which purity is asked for"""


def by_seed(row: ReportRow) -> list[dict[str, Any]]:
    """The test scores of each seed, in the order of the seeds."""
    cells = sorted(row.cells, key=lambda cell: cell[0].cell.seed)
    return [
        {"seed": entry.cell.seed, **{name: result.scores["test"][name] for name in ("macro_f1", "accuracy")}}
        for entry, result in cells
    ]


def training_curves(row: ReportRow) -> list[dict[str, Any]]:
    """How each cell of a row trained, in the order of the seeds."""
    return [
        {"key": result.key, "seed": entry.cell.seed, **cell_curve(result)}
        for entry, result in sorted(row.cells, key=lambda cell: cell[0].cell.seed)
    ]


def cell_curve(result: Result) -> dict[str, Any]:
    """How a cell trained: its curves against ``step`` (None in older versions) and ``epoch``.

    ``kept`` is the place in them whose weights were kept (None where training diverged at once), ``not_converged``
    why the training is not finished.
    """
    return {
        **steps_of(result.curves),
        **{name: [each.get(name) for each in result.curves] for name in CURVES},
        "kept": kept_place(result),
        "not_converged": list(not_converged(result)),
    }


def steps_of(curves: Sequence[Mapping[str, float]]) -> dict[str, list[float] | None]:
    """Where the entries of a curve stand, in steps (None if they do not say) and in epochs."""
    known = bool(curves) and all("step" in each for each in curves)
    return {
        "step": [each["step"] for each in curves] if known else None,
        "epoch": [each.get("epoch", i + 1) for i, each in enumerate(curves)],
    }


def kept_place(result: Result) -> int | None:
    """The place in a result's curves whose weights were kept; None where none were."""
    return None if result.kept is None else result.kept - 1


def completeness_and_purity(row: ReportRow, sample: Sample) -> list[dict[str, Any]]:
    """For each class, purity (precision) at levels of completeness (recall) on the test set, mean over seeds.

    ``as_predicted`` is where the classifier stands that gives every object its most probable class.
    """
    said = [sample.probabilities(key) for key in row.keys if key in sample.said]
    found = []
    for i, name in enumerate(sample.classes):
        true = sample.true == i
        if not said or not true.any() or true.all():
            continue
        taken = [p.argmax(1) == i for p in said]
        found.append(
            {
                "class": name,
                "objects": int(true.sum()),
                "completeness": LEVELS.tolist(),
                "purity": np.mean([purity(true, p[:, i]) for p in said], axis=0).tolist(),
                "as_predicted": {
                    "completeness": float(np.mean([(each & true).sum() / true.sum() for each in taken])),
                    "purity": float(np.mean([(each & true).sum() / max(1, each.sum()) for each in taken])),
                },
            }
        )
    return found


def purity(true: Bool[np.ndarray, " object"], p: Float[np.ndarray, " object"]) -> Float[np.ndarray, " level"]:
    """The purity of the objects above a probability, where it first makes the class as complete as each of `LEVELS`."""
    order = np.argsort(-p, kind="stable")
    last = np.append(np.diff(p[order]) != 0, True)  # objects of one probability are taken together
    right = np.cumsum(true[order])[last]
    taken = np.arange(1, len(p) + 1)[last]
    return (right / taken)[np.searchsorted(right / right[-1], LEVELS - 1e-9)]
