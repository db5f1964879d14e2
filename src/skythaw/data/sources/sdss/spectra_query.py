"""The clean spectroscopic sample of SDSS: the query, in slices of the sky, and a strict reading of the replies.

What SkyServer does with a query, and how its replies fail, is told in docs/sdss.md. A slice holds the objects for which
the lower 16 bits of the HTM id (hierarchical triangular mesh) times 37 lie in one of `SLICES` equal ranges. This is a
hash of the position, as the SDSS help pages recommend for a random sample. So all spectra of one place are in one
slice.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from skythaw.data.sources.sdss.missing_reasons import Fault, Reason

CLASSES = ("GALAXY", "QSO", "STAR")
RELEASES = (14, 15, 16, 17, 18)
SLICES = 256
ROW_LIMIT = 500_000
"""rows; the service silently cuts off longer tables"""
LARGEST_REPLY = 64 << 20
MISSING = -9999.0
BANDS = "ugriz"

TEXT = ("specObjID", "bestObjID", "class", "subClass", "run2d", "survey", "programname")
WHOLE = ("zWarning", "plate", "mjd", "fiberID", "run", "rerun", "camcol", "field", "type")
SPECTRUM = (
    *("specObjID", "bestObjID", "class", "subClass", "z", "zErr", "zWarning", "plate", "mjd", "fiberID"),
    *("run2d", "survey", "programname", "snMedian"),
)
MAGNITUDES = tuple(
    f"{kind}_{band}" for kind in ("psfMag", "modelMag", "cModelMag", "petroMag", "extinction") for band in BANDS
)
SIZES = ("petroR50_r", "petroR90_r")
PLACE = ("run", "rerun", "camcol", "field", "type")
SELECT = (
    *(f"s.{name}" for name in SPECTRUM),
    *("p.ra AS photoRa", "p.dec AS photoDec"),
    *(f"p.{name}" for name in (*PLACE, *MAGNITUDES, *SIZES)),
)
HEADER = (*SPECTRUM, "photoRa", "photoDec", *PLACE, *MAGNITUDES, *SIZES)
Row = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """Which objects of the clean sample are wanted; None means no limit."""

    min_mag: float | None = None
    """mag, of modelMag_r as observed (extinction is not taken off)"""
    max_mag: float | None = None
    min_redshift: float | None = None
    max_redshift: float | None = None


def slice_query(classes: tuple[str, ...], number: int, limits: Limits) -> str:
    """The query of one slice: primary spectra without warning, with clean primary photometry, as SDSS recommends."""
    width = (1 << 16) // SLICES
    names = ",".join(f"'{name}'" for name in classes)
    where = [
        f"s.class IN ({names})",
        "s.zWarning = 0",
        "p.clean = 1",
        f"(s.htmID*37 & 0x000000000000FFFF) BETWEEN {number * width} AND {(number + 1) * width - 1}",
    ]
    for column, sign, value in (
        ("p.modelMag_r", ">=", limits.min_mag),
        ("p.modelMag_r", "<=", limits.max_mag),
        ("s.z", ">=", limits.min_redshift),
        ("s.z", "<=", limits.max_redshift),
    ):
        if value is not None:
            where.append(f"{column} {sign} {value:g}")
    return (
        f"SELECT TOP {ROW_LIMIT} {','.join(SELECT)} FROM SpecObj AS s JOIN PhotoPrimary AS p ON p.objID = s.bestObjID "
        f"WHERE {' AND '.join(where)} ORDER BY s.specObjID"
    )


def address(release: int) -> str:
    """The URL for queries."""
    return f"https://skyserver.sdss.org/dr{release}/SkyServerWS/SearchTools/SqlSearch"


def read_table(reply: bytes) -> tuple[list[str], Iterator[list[str]]]:
    """Header and rows of a CSV reply, as text.

    Raises
    ------
    Fault
        The reply is a web page, the table of an error, or not whole.
    """
    text = reply.decode("utf-8", "replace").replace("\r\n", "\n")
    first, _, rest = text.partition("\n")
    if first.strip() != "#Table1":
        gist = " ".join(text[:200].split())
        raise Fault(Reason.UNAVAILABLE, f"the reply is no table, but {gist!r}")
    if not rest.endswith("\n"):
        raise Fault(Reason.TRUNCATED, "the table breaks off within a line")
    reader = _cells(rest)
    header = next(reader, [])
    if header == ["error_message"]:
        message = " ".join(cell for row in reader for cell in row)[:300]
        limited = "queries allowed per minute" in message
        raise Fault(Reason.RATE_LIMITED if limited else Reason.REFUSED, message)
    return header, _rows(reader, len(header))


def read_slice(reply: bytes, classes: tuple[str, ...], release: int) -> list[Row]:
    """The rows of a slice, each compared with what was asked for; missing numbers are None.

    Raises
    ------
    Fault
        The reply is not the table that was asked for: it has other columns or classes, an id twice, an id that
        contradicts plate, fibre and date, a warning, or as many rows as the service ever gives.
    """
    header, lines = read_table(reply)
    if tuple(header) != HEADER:
        odd = sorted(set(header) ^ set(HEADER)) or ["their order"]
        raise Fault(Reason.UNAVAILABLE, f"the table has other columns than asked for: {', '.join(odd[:5])}")
    rows = [_row(line) for line in lines]
    if len(rows) >= ROW_LIMIT:
        raise Fault(Reason.TOO_LARGE, f"{len(rows)} rows, where the service silently cuts tables off")
    seen = set()
    for row in rows:
        if row["specObjID"] in seen:
            raise Fault(Reason.UNAVAILABLE, f"specObjID {row['specObjID']} occurs twice")
        seen.add(row["specObjID"])
        if row["class"] not in classes or row["zWarning"] != 0:
            raise Fault(
                Reason.UNAVAILABLE,
                f"specObjID {row['specObjID']} is {row['class']} with zWarning {row['zWarning']}, not asked for",
            )
        if release < 18 and not _own_id(row):
            raise Fault(Reason.UNAVAILABLE, f"specObjID {row['specObjID']} contradicts its plate, mjd and fiberID")
    return rows


def spec_obj_id(plate: int, mjd: int, fiber: int, run2d: str) -> int:
    """The id of a spectrum, from its parts (fSpecidFromSDSS of the SDSS database, up to data release 17).

    Raises
    ------
    ValueError
        `run2d` is neither a number nor of the form v5_13_0.
    """
    if run2d.startswith("v"):
        n, m, p = (int(part) for part in run2d[1:].split("_"))
        rerun = (n - 5) * 10_000 + m * 100 + p
    else:
        rerun = int(run2d)
    return (plate << 50) + (fiber << 38) + ((mjd - 50_000) << 24) + (rerun << 10)


def _cells(text: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(text.splitlines())
    except csv.Error as error:
        raise Fault(Reason.TRUNCATED, f"the table is no CSV: {error}") from None


def _rows(reader: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    for row in reader:
        if len(row) != width:
            raise Fault(Reason.TRUNCATED, f"a row of {len(row)} values in a table of {width} columns")
        yield row


def _row(line: list[str]) -> Row:
    row: Row = {}
    for name, text in zip(HEADER, line, strict=True):
        try:
            row[name] = _value(name, text)
        except ValueError:
            raise Fault(Reason.UNAVAILABLE, f"column {name} holds {text[:40]!r}") from None
    return row


def _value(name: str, text: str) -> str | int | float | None:
    if name in WHOLE:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError
        return int(text)
    if name == "specObjID" and not re.fullmatch(r"[0-9]{1,20}", text):
        raise ValueError
    if name in TEXT:
        return text or None
    number = float(text) if text not in ("", "null", "NULL") else math.nan
    return number if math.isfinite(number) and number != MISSING else None


def _own_id(row: Row) -> bool:
    try:
        return int(row["specObjID"]) == spec_obj_id(row["plate"], row["mjd"], row["fiberID"], row["run2d"] or "")
    except (ValueError, TypeError):
        return False
