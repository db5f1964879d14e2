"""Two kinds of inputs: image files, and rows of Parquet files. Both know the names, and read images when asked."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skythaw.data.decode import BrokenImageError, require_checksum
from skythaw.data.parquet import reading
from skythaw.data.parquet_images import (
    image_pieces,
    images_in,
    place_beside,
    refuse_packed,
    refuse_packed_texts,
    require_images,
    rows_at_once,
)
from skythaw.data.sources.image_files import read_image_file
from skythaw.errors import DataError
from skythaw.machine.files import plain_name

PARQUET = (".parquet", ".pq")
UNPACKED, LONG_NAME = b"skythaw.unpacked", "long_name"
"""in the metadata of a file of what was packed; and its column of names such as ARCHIVE:MEMBER"""
BY_PATH = "first put such images into one file: skythaw data import FOLDER OUT.parquet --unlabelled"


@dataclass(frozen=True)
class Content:
    """Where the bytes of one image are, or why there are none."""

    where: bytes | str
    """the bytes, or the path of a file"""
    inside: str | None = None
    """the folder in which the file must lie"""
    sha256: str | None = None
    """of the bytes, where it was recorded"""
    reason: str | None = None
    """why there is nothing to read"""
    numbers: np.ndarray | None = None
    """float64 [given]: those of the object that stand beside its image, where they were found"""

    def read(self) -> bytes:
        """The bytes; raises `BrokenImageError` with the reason if there are none."""
        if self.reason is not None:
            raise BrokenImageError("", self.reason)
        if isinstance(self.where, str):
            return read_image_file(self.where, self.inside)
        if self.sha256:
            require_checksum(self.where, self.sha256, "")
        return self.where


@dataclass(frozen=True)
class ImageFiles:
    """Image files."""

    names: Sequence[str]
    paths: Sequence[str]
    reasons: Mapping[int, str]
    """why there is nothing to read, by row"""
    inside: str | None = None
    """the folder in which the files must lie"""

    def long_name(self, row: int) -> str:
        """A name for a row that has the same short name as another."""
        return plain_name(self.paths[row]) or f"row {row}"

    def marks(self) -> Iterator[str]:
        """Texts that change when the files do."""
        for path in self.paths:
            yield mark(path)

    def contents(self, start: int) -> Iterator[Content]:
        """The images from a row on."""
        for row in range(start, len(self.paths)):
            yield Content(self.paths[row], self.inside, reason=self.reasons.get(row))


@dataclass(frozen=True)
class ParquetRows:
    """The rows of a Parquet file of images, in the form that skythaw writes or that Hugging Face `datasets` writes.

    Where a row group is damaged, its rows have no images.
    """

    path: str
    names: pa.ChunkedArray
    ends: tuple[int, ...]
    """the row after each row group"""
    columns: tuple[str, ...]
    """to read for an image: see `image_columns`"""
    long_names: pa.ChunkedArray | None = None
    """of what was unpacked: where each image came from"""

    @classmethod
    def open(cls, path: str) -> ParquetRows:
        """Read all but the images; raises `DataError` if it is no such file."""
        with reading(Path(path)), pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema, groups = file.schema_arrow, file.metadata.num_row_groups
            require_images(path, schema)
            require_ids(path, schema)
            ends = tuple(accumulate(file.metadata.row_group(i).num_rows for i in range(groups)))
            long = [LONG_NAME] if UNPACKED in (schema.metadata or {}) and LONG_NAME in schema.names else []
            refuse_packed_texts(path, file, ["object_id", *long])
            ids = file.read(columns=["object_id"]).column(0) if "object_id" in schema.names else None
            long_names = file.read(columns=long).column(0) if long else None
        return cls(path, _names(path, ids, ends[-1] if ends else 0), ends, image_columns(schema), long_names)

    def long_name(self, row: int) -> str:
        """A name for a row that has the same short name as another."""
        if self.long_names is not None:
            return plain_name(str(self.long_names[row]))
        return f"{plain_name(self.path)}:{row}"

    def marks(self) -> Iterator[str]:
        """Texts that change when the file does."""
        yield mark(self.path)

    def contents(self, start: int) -> Iterator[Content]:
        """The images from a row on."""
        row, reason = start, "its file is no longer the one that was opened"
        try:
            with reading(Path(self.path)), pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20) as file:
                for group, end in enumerate(self.ends):
                    begin = self.ends[group - 1] if group else 0
                    try:
                        for content in islice(self._group(file, group, max(0, row - begin)), max(0, end - row)):
                            yield content
                            row += 1
                    except DataError as error:
                        reason = str(error)
                    yield from repeat(Content(b"", reason=reason), max(0, end - row))
                    row = max(row, end)
        except DataError as error:
            yield from repeat(Content(b"", reason=str(error)), len(self.names) - row)

    def _group(self, file: pq.ParquetFile, group: int, skip: int) -> Iterator[Content]:
        with reading(Path(self.path)):
            if skip >= file.metadata.row_group(group).num_rows:
                return
            yield from contents_of(file, group, self.columns, skip, posixpath.dirname(self.path) or ".")


def mark(path: str) -> str:
    """A file's path, size and time of change, if it is there."""
    try:
        status = os.stat(path)  # noqa: PTH116 (a path object for each of a million files takes longer than this)
    except (OSError, ValueError):
        return f"{path}\0\n"
    return f"{path}\0{status.st_size} {status.st_mtime_ns}\n"


def require_ids(path: str, schema: pa.Schema) -> None:
    """Raise `DataError` if a Parquet file has a column of ids that are neither text nor whole numbers."""
    if "object_id" not in schema.names:
        return
    kind = schema.field("object_id").type
    plainly = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not (pa.types.is_integer(plainly) or any(is_text(plainly) for is_text in texts)):
        raise DataError(f"{path}: column 'object_id' is {kind}; it should be text")


def image_columns(schema: pa.Schema) -> tuple[str, ...]:
    """The columns to read for an image: those of its bytes first; its checksum, and why there is none, where given."""
    texts = [n for n in ("sha256", "reason") if n in schema.names and pa.types.is_string(schema.field(n).type)]
    return (*image_pieces(schema), *texts)


def contents_of(
    file: pq.ParquetFile, group: int, columns: Sequence[str], skip: int = 0, folder: str | None = None
) -> Iterator[Content]:
    """The images of a row group, without the first `skip`; `columns` are those of `image_columns`.

    An image that is given by its path alone is read from `folder`, if there is one.
    """
    image = columns[0].partition(".")[0]
    refuse_packed(file, group, image)
    for batch in file.iter_batches(rows_at_once(file, group, image), row_groups=[group], columns=list(columns)):
        if skip < len(batch):
            sums, reasons = (
                batch.column(name).to_pylist() if name in columns else [None] * len(batch)
                for name in ("sha256", "reason")
            )
            images = images_in(batch.column(image))
            for (data, path), sha256, reason in list(zip(images, sums, reasons, strict=True))[skip:]:
                if not data and path and not reason and folder is not None:
                    yield Content(place_beside(folder, path), folder)
                elif not data and path and not reason:
                    yield Content(b"", reason=f"it is given by the path {path} alone; {BY_PATH}")
                else:
                    yield Content(data, sha256=sha256, reason=None if data else reason)
        skip = max(0, skip - len(batch))


def _names(path: str, ids: pa.ChunkedArray | None, rows: int) -> pa.ChunkedArray:
    """The ids of a file as text; FILE:ROW where there are none."""
    numbered = pa.chunked_array([[f"{plain_name(Path(path).name)}:{row}" for row in range(rows)]], pa.string())
    if ids is None:
        return numbered
    ids = ids.cast(pa.string())
    if not ids.null_count and not pc.any(pc.equal(ids, "")).as_py():
        return ids
    return pc.if_else(pc.equal(pc.fill_null(ids, ""), ""), numbered, ids)
