"""What pages show of a run folder. It may be running: it is read anew each time, the report when cells were added."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from skythaw.bundle.export.choose_cell import choose
from skythaw.bundle.numbers_wanted import NumbersWanted
from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.errors import DataError, UnknownNameError
from skythaw.report.figures.object_pictures import picture_of
from skythaw.report.page.html_page import render
from skythaw.report.plain_answer import plain_answer
from skythaw.report.report_facts import report_facts
from skythaw.report.write_report import build_page, data_files
from skythaw.stats.cell_predictions import read_part
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry
from skythaw.study.study_status import status

PAGE = 40
"""objects on a page"""
COLUMNS = (
    "backbone",
    "strategy",
    "train_size",
    "inputs",
    "depth",
    "seed",
    "state",
    "macro_f1",
    "accuracy",
    "peak_epoch",
    "seconds",
)
"""of the table of cells"""


NUMBERS = {"depth": "depth", "seed": "seed", "images": "train_size"}
"""words of a filter that a number follows, and what it is of"""


class ObjectFilter(BaseModel):
    """Which objects of a cell's predictions are asked for."""

    part: Literal["validation", "test"] = "test"
    label: str = ""
    """true class; all if empty"""
    predicted: str = ""
    """class that was predicted; all if empty"""
    least: float = Field(0.0, ge=0, le=1)
    """probability of the predicted class, at least"""
    wrong: bool = False
    """only those that were predicted wrong"""
    page: int = Field(1, ge=1, le=1_000_000)


class ShownRun:
    """A run folder that is shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with Ledger.read(folder) as ledger:
            self.title = str(ledger.remark("name") or folder.name)
        self._lock = threading.Lock()
        self._made: tuple[list[str], dict[str, Any], str] | None = None
        self._data: list[Cutouts] | None = None

    def status(self) -> dict[str, Any]:
        """How far it is: `skythaw study status`."""
        with Ledger.read(self.folder) as ledger:
            return status(ledger)

    def answers(self) -> list[str]:
        """The sentences of the report's answer so far."""
        return plain_answer(self._report()[0]["choice"])

    def recommended(self) -> list[dict[str, Any]]:
        """The report's recommendations so far, as in `skythaw report --json`."""
        return list(self._report()[0]["recommended"])

    def recommended_cell(self) -> str:
        """The key of the cell that would be exported: of the recommended depth, the best on validation."""
        return choose(self._entries(), self._report()[0], None, None, self.folder).key

    def report(self) -> str:
        """The report as a page; raises `DataError` while no cell is done."""
        facts, page = self._report()
        if not facts["rows"]:
            raise DataError("no cell is done yet: there is no report so far")
        return page

    def cells(self, sort: str = "", descending: bool = False, text: str = "") -> list[dict[str, Any]]:
        """A row for each cell, sorted by one of `COLUMNS`; with `text` those that it `describes`."""
        rows = [row for row in map(_row, self._entries()) if describes(text, row)]
        if sort in COLUMNS:
            there = sorted((r for r in rows if r[sort] is not None), key=lambda r: r[sort], reverse=descending)
            rows = there + [row for row in rows if row[sort] is None]
        return rows

    def cell(self, key: str) -> Entry:
        """The cell of a key."""
        for entry in self._entries():
            if entry.key == key:
                return entry
        raise UnknownNameError("there is no such cell in this run")

    def objects(self, key: str, wanted: ObjectFilter) -> tuple[int, list[dict[str, Any]]]:
        """How many objects of a cell's predictions match, and those of one page, the surest first."""
        entry = self.cell(key)
        if entry.result is None:
            raise DataError("that cell is not done yet: it has no predictions")
        classes = entry.result.classes
        names = [f"p_{name}" for name in classes]
        table = read_part(self.folder, entry.key, wanted.part)
        sure = pc.max_element_wise(*(table[name] for name in names)) if len(names) > 1 else table[names[0]]
        keep = pc.greater_equal(sure, wanted.least)
        for column, value in (("label", wanted.label), ("predicted", wanted.predicted)):
            if value:
                keep = pc.and_(keep, pc.equal(table[column], value))
        if wanted.wrong:
            keep = pc.and_(keep, pc.not_equal(table["label"], table["predicted"]))
        found = table.append_column("sure", sure).filter(keep)
        order = pc.sort_indices(found, [("sure", "descending"), ("object_id", "ascending")])
        start = (wanted.page - 1) * PAGE
        return len(found), [
            {
                "object_id": row["object_id"],
                "label": row["label"],
                "predicted": row["predicted"],
                "probabilities": {name: row[f"p_{name}"] for name in classes},
            }
            for row in found.take(order[start : start + PAGE]).to_pylist()
        ]

    def picture(self, object_id: str) -> bytes:
        """An object's image as its network saw it, PNG; raises `UnknownNameError` where there is none."""
        cutouts, row = self._find(object_id)
        found = picture_of(cutouts, row, self._entries()[0].cell.pixels)
        if found is None:
            raise UnknownNameError("the image of that object can't be shown")
        return found

    def label(self, object_id: str) -> str | None:
        """An object's class, as it is in the data; None where it has none."""
        cutouts, row = self._find(object_id)
        return str(cutouts.labels[row]) if cutouts.labelled[row] else None

    def image(self, object_id: str) -> bytes:
        """An object's image file, as it is in the data."""
        cutouts, row = self._find(object_id)
        return next(cutouts.images(row))[1]

    def given(self, object_id: str, wants: NumbersWanted) -> np.ndarray | None:
        """The numbers that an object's columns give, float64 [given]; None where the run's data have none of it."""
        cutouts, row = self._find(object_id)
        one = cutouts.table.slice(row, 1)
        if not wants.lacking(one.column_names):
            return np.asarray(wants.given(one)[0][0])
        with Ledger.read(self.folder) as ledger:
            catalogue = ledger.remark("table")
        try:
            return np.asarray(wants.given(one, Path(catalogue))[0][0]) if catalogue else None
        except DataError:
            return None

    def _find(self, object_id: str) -> tuple[Cutouts, int]:
        for cutouts in self._cutouts():
            row = pc.index(cutouts.table["object_id"], object_id).as_py()
            if row >= 0:
                return cutouts, row
        raise UnknownNameError("there is no object of that name in the run's data, or the data are no longer there")

    def _cutouts(self) -> list[Cutouts]:
        with self._lock:
            if self._data is None:
                self._data = []
                for path in self._paths():
                    try:
                        self._data.append(read_cutouts(path, need_labels=False))
                    except DataError:
                        continue
            return self._data

    def _paths(self) -> list[Path]:
        with Ledger.read(self.folder) as ledger:
            return data_files(ledger)

    def _entries(self) -> list[Entry]:
        with Ledger.read(self.folder) as ledger:
            return ledger.entries()

    def _report(self) -> tuple[dict[str, Any], str]:
        """Facts and page, made again when a cell was added."""
        with self._lock:
            with Ledger.read(self.folder) as ledger:
                entries = ledger.entries()
                done = [entry.key for entry in entries if entry.state == "done"]
                if self._made is None or self._made[0] != done:
                    facts = report_facts(ledger)
                    page = (
                        render(build_page(facts, data_files(ledger), entries[0].cell.pixels)) if facts["rows"] else ""
                    )
                    self._made = (done, facts, page)
            return self._made[1], self._made[2]


def describes(text: str, row: dict[str, Any]) -> bool:
    """Whether each word of a filter is of a cell.

    A word is part of the name of its network, strategy, inputs or state, or the beginning of its key; a number is its
    depth, number of images or seed; and ``depth 3``, ``seed 0`` and ``images 300`` say which.

    Examples
    --------
    >>> row = {"key": "3fa9", "backbone": "resnet50", "strategy": "top", "inputs": "images", "state": "done"}
    >>> row |= {"depth": 3, "seed": 0, "train_size": 300}
    >>> [describes(text, row) for text in ("res depth 3", "depth 0", "seed 0", "300", "30", "3fa")]
    [True, False, True, True, False, True]
    """
    words = text.lower().replace("=", " ").replace(",", " ").split()
    while words:
        word = words.pop(0)
        if word in NUMBERS and words and words[0].isdigit():
            if int(words.pop(0)) != row[NUMBERS[word]]:
                return False
            continue
        named = any(word in str(row[name]).lower() for name in ("backbone", "strategy", "inputs", "state"))
        number = word.isdigit() and int(word) in [row[name] for name in NUMBERS.values()]
        if not (named and not word.isdigit()) and not number and not (len(word) >= 3 and row["key"].startswith(word)):
            return False
    return True


def _row(entry: Entry) -> dict[str, Any]:
    cell, result = entry.cell, entry.result
    test = {} if result is None else result.scores.get("test", {})
    return {
        "key": entry.key,
        "backbone": cell.network,
        "strategy": cell.strategy,
        "train_size": cell.train_size,
        "inputs": cell.inputs,
        "depth": cell.depth,
        "seed": cell.seed,
        "state": entry.state,
        "macro_f1": test.get("macro_f1"),
        "accuracy": test.get("accuracy"),
        "peak_epoch": None if result is None else result.peak_epoch,
        "seconds": None if result is None else result.seconds["total"],
    }
