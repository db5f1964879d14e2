"""Which objects of a file of features look alike: the nearest by the cosine between features, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float32

from skythaw.bundle.references import unit
from skythaw.data.network_input import release
from skythaw.data.parquet import reading
from skythaw.errors import DataError, UnknownNameError
from skythaw.machine.files import writing
from skythaw.predict.prediction_rows import FEATURES

ROWS = 8192
"""objects that are compared, or read, at once"""
WRITE = "write it with `skythaw features`, or with `skythaw predict --features`"


@dataclass(frozen=True)
class LookAlike:
    """An object that looks like another."""

    row: int
    object_id: str
    label: str | None
    """what a classifier called it, if the file says"""
    distance: float
    """1 minus the cosine between the features of both: 0 of the same direction, 1 of nothing in common"""


class FeatureSearch:
    """The objects of a file of features that have some. Ids and labels are in memory, the features in a file.

    Parameters
    ----------
    path
        what `skythaw features` or `skythaw predict --features` wrote: a Parquet file, or a folder of shards
    store
        a folder for a copy of the features at unit length, which vanishes with the process

    Raises
    ------
    DataError
        It can't be read, or has no features.
    OutputError
        The copy can't be written.
    """

    def __init__(self, path: Path, store: Path) -> None:
        parts = _parts(path)
        self.width = _width(parts)
        ids: list[pa.Array] = []
        labels: list[pa.Array] = []
        self.without = 0
        """objects of the file that have no features"""
        with writing(store):
            store.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=store) as file:
                for table in _tables(parts):
                    self.without += table[FEATURES].null_count
                    there = table.filter(pc.is_valid(table[FEATURES])).combine_chunks()
                    if len(there):
                        _add(file, there[FEATURES].combine_chunks().flatten().to_numpy().reshape(-1, self.width))
                        ids += there["object_id"].cast(pa.string()).chunks
                        labels += _labels(there).chunks
                if not ids:
                    raise DataError(f"{path} has no object with features")
                file.flush()
                self._unit = np.memmap(file, np.float32, "r").reshape(-1, self.width)
                """features of unit length [object, feature]; the map outlives the file"""
        self.ids: pa.StringArray = pc.fill_null(pa.concat_arrays(ids), "")
        self.labels: pa.StringArray = pa.concat_arrays(labels)

    def __len__(self) -> int:
        return len(self.ids)

    def row_of(self, object_id: str) -> int:
        """The row of an object; raises `UnknownNameError` if there is none of that name."""
        row = int(pc.index(self.ids, object_id).as_py())
        if row < 0:
            raise UnknownNameError(f"there is no object {object_id[:80]!r} with features here")
        return row

    def nearest(self, row: int, count: int) -> list[LookAlike]:
        """The objects that look most like the one of a row, the nearest first; not itself."""
        wanted = np.array(self._unit[row])
        rows, cosines = np.zeros(0, np.int64), np.zeros(0, np.float32)
        for start in range(0, len(self), ROWS):
            here = self._unit[start : start + ROWS] @ wanted
            if start <= row < start + len(here):
                here[row - start] = -np.inf
            rows = np.concatenate([rows, np.arange(start, start + len(here))])
            cosines = np.concatenate([cosines, here])
            best = np.argsort(-cosines, kind="stable")[:count]
            rows, cosines = rows[best], cosines[best]
            release(self._unit)
        found = [(int(r), float(c)) for r, c in zip(rows, cosines, strict=True) if np.isfinite(c)]
        return [LookAlike(r, self.ids[r].as_py(), self.labels[r].as_py(), max(0.0, 1 - c)) for r, c in found]

    def matching(self, text: str, label: str) -> np.ndarray:
        """Rows of the objects whose id holds a text, and that have a label; an empty one is any."""
        keep = pc.match_substring(self.ids, text)
        if label:
            keep = pc.and_(keep, pc.fill_null(pc.equal(self.labels, label), False))
        return np.flatnonzero(keep.to_numpy(zero_copy_only=False))

    @cached_property
    def classes(self) -> list[str]:
        """The labels that occur."""
        return sorted(each for each in pc.unique(self.labels).to_pylist() if each is not None)


def _parts(path: Path) -> list[Path]:
    """The files that features are in."""
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    parts = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not parts:
        raise DataError(f"the folder {path} holds no Parquet files")
    return parts


def _width(parts: list[Path]) -> int:
    """How many features an object has; all files should agree."""
    widths = set()
    for path in parts:
        with reading(path):
            schema = pq.read_schema(path)
        kind = schema.field(FEATURES).type if FEATURES in schema.names else None
        if kind is None or not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
            there = "no column" if kind is None else f"no fixed number of float32, but {kind}, in the column"
            raise DataError(f"{path} has {there} {FEATURES!r}: {WRITE}")
        if "object_id" not in schema.names:
            raise DataError(f"{path} has no column 'object_id': {WRITE}")
        widths.add(kind.list_size)
    if len(widths) > 1:
        raise DataError(f"{parts[0].parent} holds features of several lengths: {', '.join(map(str, sorted(widths)))}")
    return int(widths.pop())


def _tables(parts: list[Path]) -> Iterator[pa.Table]:
    for path in parts:
        with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = [name for name in ("object_id", FEATURES, "label") if name in file.schema_arrow.names]
            for batch in file.iter_batches(ROWS, columns=names):
                yield pa.Table.from_batches([batch])


def _labels(table: pa.Table) -> pa.ChunkedArray:
    if "label" not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    return table["label"].cast(pa.string())


def _add(file: IO[bytes], features: Float32[np.ndarray, "object feature"]) -> None:
    """Write features at unit length."""
    for start in range(0, len(features), ROWS):
        file.write(unit(features[start : start + ROWS]).astype(np.float32).tobytes())
