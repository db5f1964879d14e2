"""Labelled cutouts and their one form on disk: a Parquet file, or a folder of them.

Columns: `object_id` (text), `label` (text, or null where unknown), `image` = struct(`bytes`, `path`), `sha256` of the
bytes, and any others (`ra`, `dec`, `run`, ...). The image bytes are the image file as it came, stored
uncompressed: one flipped bit then costs one image, which its checksum finds, and not the file.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skythaw.data import parquet
from skythaw.data.class_names import UNLABELLED
from skythaw.data.parquet_labels import parts_of
from skythaw.errors import DataError
from skythaw.machine.files import replacing


@dataclass(frozen=True)
class Cutouts:
    """Cutouts on disk: everything but the images in memory, the images streamed on demand."""

    paths: tuple[Path, ...]
    """the Parquet files, in the order of the rows"""
    table: pa.Table
    """every column except `image`"""
    recipe: dict[str, Any]
    """how the first file was made; empty where it does not say"""

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def object_ids(self) -> list[str]:
        """One text per object, no two alike."""
        return self.table["object_id"].to_pylist()

    @cached_property
    def labels(self) -> np.ndarray:
        """Text or None, object array [object]."""
        return np.array(self.table["label"].to_pylist(), dtype=object)

    @cached_property
    def labelled(self) -> np.ndarray:
        """Whether an object has a label, bool [object]."""
        return np.array([label is not None for label in self.labels], dtype=bool)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Labelled objects per class, sorted by name."""
        return dict(sorted(Counter(self.labels[self.labelled]).items()))

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(self.counts)

    @cached_property
    def image_sha256(self) -> list[str]:
        """SHA-256 of each image's bytes: as recorded, or computed by one pass over the images."""
        if "sha256" in self.table.column_names and not self.table["sha256"].null_count:
            return self.table["sha256"].to_pylist()
        return [sha256 for _, _, sha256 in self.images()]

    @cached_property
    def sha256(self) -> str:
        """Checksum of the content: ids, labels, images and all other columns, in whatever files and row groups."""
        parts = {name: _column_sha256(self.table[name]) for name in self.table.column_names}
        parts["sha256"] = _column_sha256(pa.chunked_array([self.image_sha256], pa.string()))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def column(self, name: str) -> np.ndarray:
        """The values of a column, array [object]; nulls are NaN in numbers and None in text.

        Raises
        ------
        DataError
            No such column; the message lists those that are there.
        """
        if name not in self.table.column_names:
            raise DataError(f"there is no column {name!r}; there are {', '.join(self.table.column_names)}")
        values = self.table[name]
        return values.to_numpy() if is_number(values.type) else np.array(values.to_pylist(), dtype=object)

    def numbers(self, name: str) -> np.ndarray:
        """The values of a column of numbers, float64 [object]; nulls are NaN.

        Raises
        ------
        DataError
            No such column, or a value that is no number.
        """
        values = self.column(name)
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.paths[0]}: column {name!r} should hold numbers: {error}") from None

    def images(self, start: int = 0) -> Iterator[tuple[str, bytes, str]]:
        """Go through the images from row `start` on, in bounded memory.

        Yields
        ------
        object_id, data, sha256
            the bytes as stored (empty where there are none), and their SHA-256 as recorded, or computed where it is not

        Raises
        ------
        DataError
            A file can't be read, or is no longer the one that was opened.
        """
        recorded = self.table["sha256"].to_pylist() if "sha256" in self.table.column_names else [None] * len(self)
        row = start
        for data in parquet.stream_images(self.paths, start):
            if row < len(self):
                yield self.object_ids[row], data, recorded[row] or hashlib.sha256(data).hexdigest()
            row += 1
        if row != max(start, len(self)):
            raise DataError(f"{self.paths[0]} changed while it was read: {row} rows instead of {len(self)}")


def read_cutouts(path: Path, *, need_labels: bool = True) -> Cutouts:
    """Open a Parquet file of cutouts, a folder of such files (in the order of their names), or a HATS catalogue.

    Files of Hugging Face `datasets` are read as they are: labels by name, -1 as no label, and ids that are made from
    the images where there are none.

    Parameters
    ----------
    path
        the file or folder
    need_labels
        False lets the `label` column be empty or absent, as in a set to be classified

    Raises
    ------
    DataError
        No such file, not Parquet, a column missing or of the wrong type, no rows, no labels, or an object twice.
    """
    paths = parquet.find_files(Path(path))
    parts = [parquet.read_columns(each, need_labels) for each in paths]
    for each, part in zip(paths, parts, strict=True):
        if odd := sorted(set(part.column_names) ^ set(parts[0].column_names)):
            raise DataError(f"{each} and {paths[0]} differ in columns: {', '.join(odd)}; a folder's files must agree")
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"the files of {path} differ in the types of their columns: {error}") from None
    if table.num_rows == 0:
        raise DataError(f"{path} has no rows: there are no cutouts in it")
    table = _with_parts(_with_ids(table, paths), parts, paths, Path(path))
    if need_labels and table["label"].null_count == table.num_rows:
        raise DataError(f"{path}: no object has a label; the column 'label' should name the class of each")
    _refuse_duplicates(table["object_id"].to_pylist(), path, set())
    return Cutouts(paths, table, parquet.recipe_of(parts[0].schema))


def _with_ids(table: pa.Table, paths: tuple[Path, ...]) -> pa.Table:
    """Ids made from the images where there are none: 16 digits of the SHA-256, and -2 after that of a second twin."""
    if "object_id" in table.column_names:
        return table
    if "sha256" not in table.column_names or table["sha256"].null_count:
        sums = [hashlib.sha256(data).hexdigest() for data in parquet.stream_images(paths, 0)]
        table = table.drop_columns([name for name in table.column_names if name == "sha256"])
        table = table.append_column("sha256", pa.chunked_array([sums], pa.string()))
    seen: Counter[str] = Counter()
    ids = []
    for sha256 in table["sha256"].to_pylist():
        seen[sha256] += 1
        ids.append(sha256[:16] + (f"-{seen[sha256]}" if seen[sha256] > 1 else ""))
    return table.add_column(0, "object_id", pa.chunked_array([ids], pa.string()))


def _with_parts(table: pa.Table, tables: Sequence[pa.Table], paths: tuple[Path, ...], folder: Path) -> pa.Table:
    """A column `part` where the files of a folder are called train-..., test-..., validation-..."""
    parts = parts_of(paths, folder)
    if parts is None or "part" in table.column_names:
        return table
    values = [part for part, one in zip(parts, tables, strict=True) for _ in range(one.num_rows)]
    return table.append_column("part", pa.chunked_array([values], pa.string()))


def require_classes(cutouts: Cutouts, given: Path | None = None) -> None:
    """Raise `DataError` unless the labels name at least two classes: fewer leave nothing to tell apart.

    `given` is what the user gave, where the cutouts were made of it.
    """
    if len(cutouts.counts) < 2:
        found = ", ".join(f"{name} ({count})" for name, count in cutouts.counts.items()) or "none"
        raise DataError(f"{given or cutouts.paths[0]}: a classifier needs at least 2 classes; found {found}")


def say_unlabelled(cutouts: Cutouts) -> dict[str, int]:
    """What is said of rows without a label, and how many there are; empty where all have one, or none."""
    missing = len(cutouts) - sum(cutouts.counts.values())
    return {UNLABELLED: missing} if 0 < missing < len(cutouts) else {}


def write_cutouts(
    out: Path, rows: Iterable[parquet.Row], columns: Sequence[tuple[str, pa.DataType]], recipe: Mapping[str, Any]
) -> int:
    """Write cutouts as one Parquet file, in bounded memory; equal rows give equal bytes.

    The file appears under its name whole, or not at all.

    Parameters
    ----------
    out
        the file to make or replace
    rows
        each with `object_id` (text), `label` (text or None), `image` (the bytes of an image file), a value for each of
        `columns` (null where absent), and, if there is one, `image_path`, the image's name
    columns
        names and types of the further columns, in order
    recipe
        how the data were made, JSON-able; kept in the file's metadata

    Returns
    -------
    int
        rows written

    Raises
    ------
    DataError
        No rows, an object twice, or a value that is not of its column's type.
    OutputError
        The file can't be written.
    """
    out, schema, seen, count = Path(out), parquet.schema_of(columns, recipe), set[str](), 0
    with replacing(out) as file, parquet.parquet_writer(file, schema, out) as add:
        for group in parquet.row_groups(rows):
            _refuse_duplicates([row["object_id"] for row in group], out, seen)
            add(parquet.group_table(group, schema))
            count += len(group)
        if not count:
            raise DataError(f"there are no cutouts to write to {out}")
    return count


def _refuse_duplicates(ids: Sequence[str], where: Path, seen: set[str]) -> None:
    """Raise for an id that is in `ids` twice or in `seen`; add them to `seen`."""
    for each in ids:
        if not each:
            raise DataError(f"{where}: an object has no object_id; every object needs one")
        if each in seen:
            raise DataError(f"{where}: object_id {each!r} occurs twice; every object needs an id of its own")
        seen.add(each)


def is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _column_sha256(values: pa.ChunkedArray) -> str:
    """Checksum of a column's values, whatever its chunks and the width of its type."""
    digest = hashlib.sha256(values.is_valid().to_numpy().tobytes())
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy()
        digest.update(np.where(np.isnan(numbers), np.nan, numbers).astype("<f8").tobytes())
        return digest.hexdigest()
    try:
        texts = values.cast(pa.string())
    except pa.ArrowException:
        texts = pa.chunked_array([[json.dumps(value, default=str) for value in values.to_pylist()]], pa.string())
    texts = pc.fill_null(texts, "")
    digest.update(pc.binary_length(texts).to_numpy().astype("<i8").tobytes())
    digest.update("".join(texts.to_pylist()).encode())
    return digest.hexdigest()
