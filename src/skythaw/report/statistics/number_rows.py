"""The rows of a report that have no network: the control, and models of the numbers that stand beside the images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from skythaw.report.statistics.chosen_cells import by_seed
from skythaw.report.statistics.report_rows import ReportRow, ScoredRows, finished_cells, report_rows, row_facts
from skythaw.study.ledger import Ledger

CONTROL = "control"


@dataclass(frozen=True)
class NumberRows:
    """One row for each training size."""

    control: list[ReportRow]
    table: list[ReportRow]


def number_rows(ledger: Ledger) -> NumberRows:
    """The rows without a network, of the cells that are finished."""
    finished = finished_cells(ledger.entries("numbers"))
    control, table = (
        report_rows([each for each in finished if (each[0].cell.backbone == CONTROL) == wanted], ())
        for wanted in (True, False)
    )
    return NumberRows(control, table)


def number_facts(row: ReportRow, scored: ScoredRows | None) -> dict[str, Any]:
    """One row, as the report's JSON has it."""
    found = row_facts(row, scored) | {"by_seed": by_seed(row)}
    models = Counter(result.head for result in row.results)
    settings = row.cells[0][0].cell.numbers
    return {
        **found,
        "lr": {"mean": None, "std": None},
        "lrs": [],
        "model": models.most_common(1)[0][0],
        "numbers": row.results[0].numbers,
        "columns": list(settings.columns) if settings else [],
        "measured": bool(settings and settings.measured),
    }
