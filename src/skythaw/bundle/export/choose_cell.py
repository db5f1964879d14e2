"""Which cell of a run is exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from skythaw.errors import LedgerError, UnknownNameError
from skythaw.report.recommendations import best_of, on_validation
from skythaw.spec import IMAGES
from skythaw.study.cell_result import Result
from skythaw.study.ledger_rows import Entry

SHORTEST_KEY = 6
"""letters of a cell's key that are enough where they name one cell"""
KEYS = "`skythaw report --json` lists the keys of each row"
Inputs = Literal["images", "both"]


def choose(entries: Sequence[Entry], facts: dict[str, Any], key: str | None, inputs: Inputs | None, run: Path) -> Entry:
    """The cell that a key begins, or else the recommended one.

    Parameters
    ----------
    entries
        of the run
    facts
        of its report
    key
        the beginning of a cell's key
    inputs
        what the classifier should take: ``images`` or ``both``; by default both, if the run has such cells
    run
        the run folder, for errors

    Raises
    ------
    LedgerError, UnknownNameError
        No cell is finished, or none is the one that is asked for.
    """
    done = {entry.key: entry for entry in entries if entry.state == "done" and entry.result}
    if not done:
        raise LedgerError(f"{run} has no finished cell to export")
    if key is not None:
        return _of_key(done, key, inputs, facts, run)
    found = _recommended(facts, inputs)
    if found is None:
        raise UnknownNameError(f"{run} has no finished cell whose inputs are {inputs!r}; {KEYS}")
    same = ("network", "strategy", "train_size", "inputs", "depth", *facts["axes"])
    row = next(row for row in facts["rows"] if all(row[name] == found[name] for name in same))
    finished = [done[each] for each in row["keys"] if each in done]
    return max(finished, key=lambda entry: finished_result(entry).scores["validation"]["macro_f1"])


def finished_result(entry: Entry) -> Result:
    """What a cell gave; raises `LedgerError` if it is not finished."""
    if entry.result is None:
        raise LedgerError(f"the cell {entry.key} is not finished")
    return entry.result


def _of_key(done: dict[str, Entry], key: str, inputs: Inputs | None, facts: dict[str, Any], run: Path) -> Entry:
    if len(key) < SHORTEST_KEY:
        raise UnknownNameError(f"the key {key!r} is too short: give at least {SHORTEST_KEY} letters; {KEYS}")
    matching = [cell for cell in done if cell.startswith(key)]
    if len(matching) != 1:
        raise UnknownNameError(f"{run} has {len(matching)} finished cells whose keys begin with {key!r}; {KEYS}")
    entry = done[matching[0]]
    if inputs is not None and inputs != _kind(entry.cell.inputs):
        raise UnknownNameError(f"the inputs of the cell {matching[0][:12]} are {entry.cell.inputs!r}, not {inputs!r}")
    if not any(entry.key in row["keys"] for row in facts["rows"]):
        raise UnknownNameError(
            f"the cell {matching[0][:12]} has the learning rate {finished_result(entry).lr:g}, and the report takes "
            f"another for its depth, the best on validation; {KEYS}"
        )
    return entry


def _recommended(facts: dict[str, Any], inputs: Inputs | None) -> dict[str, Any] | None:
    """The recommended row of the best network, on the inputs that are wanted; None if there is none."""
    best = best_of(each for each in facts["recommended"] if each["main"])
    of_both = [each for each in facts["recommended"] if _kind(each["inputs"]) == "both"]
    if inputs == "images" or (inputs is None and not of_both):
        return best if best["inputs"] == IMAGES else None

    def rank(each: dict[str, Any]) -> tuple[bool, bool, int, float]:
        alike = [each[name] == best[name] for name in ("network", "strategy")]
        return alike[0], alike[1], each["train_size"], on_validation(each)

    return max(of_both, key=rank, default=None)


def _kind(inputs: str) -> str:
    """Without the name of the fusion."""
    return inputs.partition(":")[0]
