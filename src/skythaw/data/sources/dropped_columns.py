"""Columns of a user's table that hold neither numbers nor texts (dates, lists, objects): dropped, and told."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa

DROPPED = b"dropped"
"""key in the metadata of a schema"""
LONGEST = 40
"""letters of a type, and columns that are named"""


def noting(rows: pa.RecordBatch, dropped: Mapping[str, object]) -> pa.RecordBatch:
    """The rows, which remember the columns that are not among them, and the type of each."""
    told = json.dumps({name: str(kind)[:LONGEST] for name, kind in dropped.items()})
    return rows.replace_schema_metadata({DROPPED: told}) if dropped else rows


def dropped_of(schema: pa.Schema) -> dict[str, str]:
    """The columns that were dropped -> the type of each."""
    found: dict[str, str] = json.loads((schema.metadata or {}).get(DROPPED, b"{}"))
    return found


def say_dropped(where: object, dropped: Mapping[str, str]) -> list[str]:
    """One sentence, where there are such columns."""
    if not dropped:
        return []
    shown = ", ".join(f"{name} ({kind})" for name, kind in list(dropped.items())[:LONGEST])
    more = ", ..." if len(dropped) > LONGEST else ""
    return [f"columns of {where} that hold neither numbers nor texts are not kept: {shown}{more}; write them as text"]
