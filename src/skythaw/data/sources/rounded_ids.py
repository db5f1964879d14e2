"""Ids of objects that lost digits: written as 1.24E+18 by a spreadsheet, or rounded to a decimal number of 53 bits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from skythaw.errors import DataError

RUINED = re.compile(r"\d+\.\d+[eE][+-]?\d+|\d+[eE]\+\d+")
LARGE = re.compile(r"\d{16,20}")
EXACT = 1 << 53
"""decimal numbers hold every whole number up to here"""
ENOUGH = 12
"""bits: so many factors of two that all ids share by chance in one of 4000 tables"""
STEPS = {"spec": 10, "source_id": 7, "gaia": 7}
"""bits that are always zero at the end of specObjID (SDSS) and source_id (Gaia), by parts of the column's name"""


class RoundedIds:
    """Tells whether ids that are added, some at a time, were rounded to decimal numbers, as by pandas or Excel.

    A decimal number of 64 bits holds 53 bits of a whole number. So ids of 19 digits become multiples of 128, 256 or
    512, or end with zeros where only 15 to 17 digits were written. One such id means nothing. All of them do.
    """

    def __init__(self, column: str = "") -> None:
        self._step = max((bits for part, bits in STEPS.items() if part in column.lower()), default=0)
        self._evidence, self._whole = 0, False
        self.example = ""

    def add(self, ids: Sequence[str]) -> None:
        """Look at further ids; anything that is not a whole number above 2^53 is passed over."""
        for each in ids:
            if self._whole:
                return
            if not LARGE.fullmatch(each) or int(each) <= EXACT:
                continue
            number = int(each)
            self._whole = int(float(number)) != number and not _is_padded(number)
            self._evidence += max(0, min(number.bit_length() - 53, 10) - self._step)
            self.example = self.example or each

    @property
    def found(self) -> bool:
        """Whether all of them are rounded, and they are too many for that to be chance."""
        return not self._whole and self._evidence >= ENOUGH


def refuse_ruined(where: Path | str, name: str, ids: Sequence[str]) -> None:
    """Raise `DataError` for ids that a spreadsheet or a decimal number has rounded."""
    if ruined := next((each for each in ids if RUINED.fullmatch(each)), None):
        raise DataError(
            f"{where}: column {name!r} holds {ruined}: a spreadsheet rounded the ids, and digits are lost; take the "
            "table again from where it came, and keep this column as text"
        )
    rounded = RoundedIds(name)
    rounded.add(ids)
    refuse_rounded(where, name, rounded)


def refuse_rounded(where: Path | str, name: str, rounded: RoundedIds) -> None:
    """Raise `DataError` if ids were rounded."""
    if rounded.found:
        raise DataError(
            f"{where}: column {name!r} holds {rounded.example}: all large ids are rounded as decimal numbers are "
            "(float64 holds 53 bits), so their last digits are lost; take the table again from where it came, and "
            "read this column as text or as whole numbers"
        )


def _is_padded(number: int) -> bool:
    """Whether zeros stand for the digits that a decimal number does not show: 1237648672922272300."""
    digits = repr(float(number)).partition("e")[0].replace(".", "")
    return str(number) == digits.ljust(len(str(number)), "0")
