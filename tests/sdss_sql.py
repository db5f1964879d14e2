"""As much SQL as SkyServer's users need of a `Universe`, and the filter in front of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdss_universe import BANDS, CLASSES, PHOTO, SPEC, Universe

SPEC_NAMES = {name.lower(): name for name in SPEC}
PHOTO_NAMES = {name.lower(): name for name in [*PHOTO, "htmID"]} | {"ra": "photoRa", "dec": "photoDec"}
PHOTO_NAMES |= {"objid": "bestObjID"} | {band: f"modelMag_{band}" for band in BANDS}
ALWAYS_ONE = {"s": {"scienceprimary"}, "p": {"clean", "mode", "calibstatus_r"}}
STATEMENT = re.compile(
    r"select (?:top (?P<top>\S+) )?(?P<columns>.+?) from (?P<tables>.+?)(?: where (?P<where>.+?))?"
    r"(?: order by (?P<order>.+?))? ?",
    re.IGNORECASE,
)
CONDITION = re.compile(
    r" ?(?P<open>\( ?)?(?:(?P<table>[sp])\.)?(?P<name>[a-z]\w*)(?: ?\* ?(?P<times>\d+))?"
    r"(?: ?(?P<bits>[&%]) ?(?P<by>0x[0-9a-f]+|\d+))?(?(open) ?\))"
    r"(?: ?(?P<sign>>=|<=|<>|!=|=|<|>) ?(?P<value>'[^']*'|[-+.\de]+)"
    r"| in ?\((?P<values>[^)]*)\)| between (?P<low>[-+.\de]+) and (?P<high>[-+.\de]+)) ?(?:and |$)",
    re.IGNORECASE,
)
SIGNS = {"=": np.equal, "<>": np.not_equal, "!=": np.not_equal, "<": np.less, ">": np.greater, "<=": np.less_equal}
SIGNS |= {">=": np.greater_equal}


class SqlError(Exception):
    """SQL Server's own complaint."""


class RefusedError(Exception):
    """The filter before it says no, in a table."""


@dataclass
class Table:
    header: list[str]
    rows: list[list[str]]

    def csv(self) -> str:
        """As SkyServer writes it: its name first, quotes only round a comma and never escaped."""
        lines = ["#Table1", ",".join(self.header)]
        lines += [",".join(f'"{value}"' if "," in value else value for value in row) for row in self.rows]
        return "\n".join(lines) + "\n"


def sql_text(value: Any) -> str:
    return repr(value).removesuffix(".0").upper() if isinstance(value, float) else str(value)


def literal(word: str) -> Any:
    word = word.strip()
    if word.startswith("'"):
        return word.strip("'")
    try:
        return int(word)
    except ValueError:
        return float(word)


class Sql:
    """The few forms of SELECT that clients of spectra use, over one universe."""

    def __init__(self, universe: Universe, limit: int = 500_000) -> None:
        self.universe, self.limit = universe, limit
        self._arrays: dict[str, np.ndarray] = {}
        self._texts: dict[str, list[str]] = {}

    def answer(self, command: str) -> Table:
        command = re.sub(r"/\*.*?\*/|--[^\n]*", " ", command, flags=re.DOTALL).replace(";", "#")
        command = re.sub(r"\s+", " ", command).lstrip()
        if not command.lower().startswith("select "):
            raise RefusedError(f"error: must be a select statement: {command}")
        match = STATEMENT.fullmatch(command)
        if "#" in command or re.search(r"[^(] ?\bselect ", command, re.IGNORECASE) or not match:
            raise SqlError("Incorrect syntax near '#'.")
        top = match["top"]
        if top and not (top.isdecimal() and 1 <= int(top) <= 500_000):
            raise RefusedError("error: limit is  top 500000 ")
        for table in re.findall(r"(?:^|join |, ?)(?:dbo\.)?(\w+)", match["tables"], re.IGNORECASE):
            if table.lower() not in ("specobj", "photoprimary", "photoobj"):
                raise SqlError(f"Invalid object name '{table}'.")
        rows = self._ordered(np.flatnonzero(self._where(match["where"] or "")), match["order"] or "")
        rows = rows[: min(int(top or self.limit), self.limit)]
        if count := re.fullmatch(r"count ?\( ?\* ?\)(?: as (\w+))?", match["columns"].strip(), re.IGNORECASE):
            return Table([count[1] or "Column1"], [[str(len(rows))]])
        header, columns = zip(*map(self._column, match["columns"].split(",")), strict=True)
        texts = [self._text(name) for name in columns]
        return Table(list(header), [[text[row] for text in texts] for row in rows.tolist()])

    def _name(self, table: str | None, name: str) -> str:
        key = name.lower()
        found = {
            side: names.get(key) or ("1" if key in ALWAYS_ONE[side] else None)
            for side, names in (("s", SPEC_NAMES), ("p", PHOTO_NAMES))
            if table is None or side == table.lower()
        }
        known = [value for value in found.values() if value]
        if not known:
            raise SqlError(f"Invalid column name '{name}'.")
        if len(known) > 1:
            raise SqlError(f"Ambiguous column name '{name}'.")
        return known[0]

    def _column(self, text: str) -> tuple[str, str]:
        match = re.fullmatch(r" ?(?:([sp])\.)?([a-z]\w*)(?: as (\w+))? ?", text, re.IGNORECASE)
        if not match:
            raise SqlError(f"Incorrect syntax near '{text.strip()}'.")
        return match[3] or match[2], self._name(match[1], match[2])

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            values = [1] * self.universe.objects if name == "1" else self.universe.columns[name]
            self._arrays[name] = np.array(values, np.uint64 if name == "specObjID" else None)
        return self._arrays[name]

    def _text(self, name: str) -> list[str]:
        if name not in self._texts:
            self._texts[name] = list(map(sql_text, self._array(name).tolist()))
        return self._texts[name]

    def _ordered(self, rows: np.ndarray, order: str) -> np.ndarray:
        for part in reversed(order.split(",") if order else []):
            word, _, way = part.strip().partition(" ")
            keys = self._array(self._column(word)[1])[rows]
            turn = np.argsort(keys, kind="stable")
            rows = rows[turn[::-1] if way.strip().lower() == "desc" else turn]
        return rows

    def _where(self, text: str) -> np.ndarray:
        keep, at = np.ones(self.universe.objects, bool), 0
        while at < len(text):
            match = CONDITION.match(text, at)
            if not match:
                raise SqlError(f"Incorrect syntax near '{text[at : at + 20].strip()}'.")
            keep &= self._condition(match)
            at = match.end()
        return keep

    def _condition(self, match: re.Match[str]) -> np.ndarray:
        values = self._array(self._name(match["table"], match["name"]))
        if match["times"]:
            values = values * int(match["times"])
        if match["bits"]:
            by = int(match["by"], 0)
            values = values & by if match["bits"] == "&" else values % by
        words = match["values"].split(",") if match["values"] is not None else [match["value"] or match["low"]]
        words += [match["high"]] if match["high"] else []
        numbers = [literal(word) for word in words]
        if values.dtype.kind != "U":
            try:
                numbers = [literal(value) if isinstance(value, str) else value for value in numbers]
            except ValueError:
                raise SqlError(f"Error converting data type varchar to {values.dtype}.") from None
        if match["values"] is not None:
            return np.isin(values, numbers)
        if match["low"]:
            return (values >= numbers[0]) & (values <= numbers[1])
        return SIGNS[match["sign"]](values, numbers[0])


def spoil_table(fault: str | None, table: Table) -> Table:
    """What a fault of the SQL service does to an answer."""
    at = {name.lower(): k for k, name in enumerate(table.header)}
    header, rows = table.header, [list(row) for row in table.rows]
    if fault == "wrong_header":
        header, rows = header[:-1], [row[:-1] for row in rows]
    elif fault == "duplicate_row" and rows:
        rows.insert(len(rows) // 2, rows[len(rows) // 2])
    elif fault == "foreign_class" and rows and "class" in at:
        row = rows[len(rows) // 2]
        row[at["class"]] = CLASSES[(CLASSES.index(row[at["class"]]) + 1) % 3]
    elif fault == "bad_id" and rows and "specobjid" in at:
        row = rows[len(rows) // 2]
        row[at["specobjid"]] = str(int(row[at["specobjid"]]) ^ (1 << 38))
    return Table(header, rows)
