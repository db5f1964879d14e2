"""How far a study is, from its ledger. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry

RACE = "race"
"""the remark of a ledger that has the settings which a race of depths gave no further seeds"""


def status(ledger: Ledger) -> dict[str, Any]:
    """Counts of cells by state, the time left, and what failed.

    Returns
    -------
    dict
        ``cells``, ``done``, ``failed``, ``running``; ``stopped`` (what a race of depths left untrained);
        ``seconds_left`` (None before the first cell is done), from the cost of the cells left, the seconds per cost of
        those done, and how many run at once; ``failures``
    """
    entries = ledger.entries()
    stopped = stopped_keys(ledger, entries)
    states = [entry.state for entry in entries]
    running = states.count("running")
    return {
        "cells": len(entries),
        "done": states.count("done"),
        "failed": states.count("failed"),
        "running": running,
        "stopped": len(stopped),
        "seconds_left": seconds_left([e for e in entries if e.key not in stopped], max(1, running)),
        "failures": [
            {
                "key": e.key,
                "backbone": e.cell.network,
                "depth": e.cell.depth,
                "train_size": e.cell.train_size,
                "seed": e.cell.seed,
                "attempts": e.attempts,
                "error": e.error or "",
            }
            for e in entries
            if e.state == "failed"
        ],
    }


def out_of_race(ledger: Ledger, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The settings that a race of depths gave fewer seeds, as `skythaw.study.depth_race.OutOfRace` has them.

    With ``seeds`` (that are done) and ``of`` (all of the study); those that were trained since are left out.
    """
    done, found = {entry.key for entry in entries if entry.state == "done"}, []
    for each in ledger.remark(RACE) or []:
        keys = (*each["trained"], *each["left"])
        if (seeds := sum(key in done for key in keys)) < len(keys):
            found.append({**each, "seeds": seeds, "of": len(keys)})
    return found


def stopped_keys(ledger: Ledger, entries: Sequence[Entry]) -> set[str]:
    """The cells that wait because a race of depths left them untrained."""
    left = {key for each in ledger.remark(RACE) or [] for key in each["left"]}
    return {entry.key for entry in entries if entry.state == "waiting" and entry.key in left}


def seconds_left(entries: list[Entry], workers: int) -> float | None:
    """Expected seconds for the cells that are not done, with so many workers."""
    left = sum(e.cost for e in entries if e.state in ("waiting", "running", "failed"))
    if not left:
        return 0.0
    finished = [(e.result.seconds["total"], e.cost) for e in entries if e.result]
    if not finished:
        return None
    seconds, cost = map(sum, zip(*finished, strict=True))
    return left * seconds / cost / workers
