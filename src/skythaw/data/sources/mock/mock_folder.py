"""A mock survey as people have theirs: a folder of images, and a table of labels, places and magnitudes."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from skythaw.data.cutouts import read_cutouts
from skythaw.data.sources.mock.mock_survey import make_mock
from skythaw.errors import OutputError
from skythaw.machine.files import writing

LEFT_OUT = ("image", "sha256", "redshift", "survey")
"""columns that the table does without: the redshift gives the class away"""


def make_mock_folder(
    out: Path,
    objects: int = 1200,
    seed: int = 0,
    size: int = 64,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None,
) -> Path:
    """Write the images of `make_mock` as files, ``OUT/OBJECT.jpg``, and what is known of them as ``OUT.csv``.

    Parameters
    ----------
    out
        the folder to make
    objects, seed, size, progress
        as of `make_mock`

    Returns
    -------
    Path
        the table

    Raises
    ------
    OutputError
        The folder is there already, or can't be written.
    """
    table = out.with_name(f"{out.name}.csv")
    if out.exists() or table.exists():
        raise OutputError(f"{out if out.exists() else table} is there already: choose another name")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            survey, images, rows = Path(folder) / "mock.parquet", Path(folder) / "images", Path(folder) / "mock.csv"
            make_mock(survey, objects, seed, size, progress=progress)
            cutouts = read_cutouts(survey)
            images.mkdir()
            for object_id, data, _ in cutouts.images():
                (images / f"{object_id}.jpg").write_bytes(data)
            _write_rows(rows, cutouts.table.drop_columns([n for n in LEFT_OUT if n in cutouts.table.column_names]))
            images.rename(out)
            shutil.move(rows, table)
    return table


def _write_rows(file: Path, table: Any) -> None:
    with file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(table.column_names)
        writer.writerows(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
