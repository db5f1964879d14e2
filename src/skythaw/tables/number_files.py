"""Tables of numbers in the cache folder: written whole or not at all; a damaged one counts as not there."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from skythaw.errors import DataError
from skythaw.machine.files import replacing, writing
from skythaw.tables.number_table import NumberTable


def write_numbers(path: Path, table: NumberTable) -> None:
    """Keep a table.

    Raises
    ------
    OutputError
        The file can't be written.
    """
    with replacing(path) as file, writing(path):
        file.write(save({"values": table.values}, {"sha256": table.sha256}))


def read_numbers(path: Path, ids: tuple[str, ...], names: tuple[str, ...]) -> NumberTable | None:
    """The table of these objects and numbers that was kept; None if it is not there, or damaged."""
    try:
        with safe_open(path, framework="numpy") as kept:
            table = NumberTable(ids, names, kept.get_tensor("values"))
            return table if table.sha256 == (kept.metadata() or {}).get("sha256") else None
    except (OSError, ValueError, SafetensorError, DataError):
        return None
