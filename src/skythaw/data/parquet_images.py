"""Where the images of a Parquet file are: bytes in a column, or files beside it. Their size is bounded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skythaw.data.decode import BrokenImageError
from skythaw.data.parquet_footer import column_chunks
from skythaw.data.sources.image_files import read_image_file
from skythaw.errors import DataError

NAMES = ("image", "img", "jpg", "jpeg", "png", "image_bytes", "cutout")
LARGEST_IMAGE = 256 << 20
"""bytes of one image's file; a larger one is no cutout"""
ROWS, AT_ONCE = 64, 128 << 20
"""images that are read at once, and their bytes where they may be repeated"""
LARGEST_TEXT, LARGEST_COLUMN = 1 << 16, 1 << 30
"""bytes of a text in a column, and of a column in a row group, beyond which it is looked at more closely"""
PACKED, UNPACKED = 100, 16 << 20
"""A row group whose images grow by more than this factor, to more than so many bytes, holds no images."""


def require_images(path: Path | str, schema: pa.Schema) -> None:
    """Raise `DataError` unless a Parquet file has a column of images."""
    if image_column(schema) is not None:
        return
    named = next((name for name in NAMES if name in schema.names), None)
    if named is None:
        raise DataError(f"{path} has no column 'image'; it has {', '.join(schema.names[:20])}")
    kind = schema.field(named).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        found = kind.field("bytes").type
        raise DataError(
            f"{path}: '{named}.bytes' is {found}; it should be binary: the JPEG, PNG or FITS file as it came"
        )
    advice = "" if "flux" not in str(kind) else "; arrays of pixels: skythaw data import"
    wanted = f"struct<bytes: binary, path: string>, binary, or text with paths{advice}"
    raise DataError(f"{path}: column {named!r} is {str(kind)[:100]}; it should be {wanted}")


def image_column(schema: pa.Schema) -> str | None:
    """The column that holds the images, or else their paths: by its name, or by Hugging Face's description of it."""
    described = [name for name, about in features(schema).items() if about.get("_type") == "Image"]
    names = (NAMES[0], *described, *NAMES)
    return next((name for holds in (_holds_images, _holds_paths) for name in names if holds(schema, name)), None)


def image_pieces(schema: pa.Schema) -> tuple[str, ...]:
    """The columns to read for an image's bytes, and for the path of its file where there is one."""
    name = image_column(schema) or NAMES[0]
    kind = schema.field(name).type
    if not pa.types.is_struct(kind):
        return (name,)
    path = kind.get_field_index("path")
    has_path = path >= 0 and pa.types.is_string(kind.field(path).type)
    return (f"{name}.bytes", *([f"{name}.path"] if has_path else []))


def images_in(column: pa.Array) -> Iterator[tuple[bytes, str | None]]:
    """The bytes of each image of a column (empty where there are none), and the path of its file."""
    paths: list[str | None] = [None] * len(column)
    if pa.types.is_struct(column.type):
        if column.type.get_field_index("path") >= 0:
            paths = pc.struct_field(column, "path").to_pylist()
        column = pc.struct_field(column, "bytes")
    elif _is_text(column.type):
        column, paths = pa.nulls(len(column)), column.to_pylist()
    column = column.cast(pa.binary()) if pa.types.is_null(column.type) else column
    for value, path in zip(column, paths, strict=True):
        buffer = value.as_buffer()
        yield (buffer.to_pybytes() if buffer is not None and buffer.size <= LARGEST_IMAGE else b""), path


class NoImage(bytes):
    """The empty bytes of an image that could not be read, and the reason."""

    reason: str


def place_beside(folder: Path | str, path: str) -> str:
    """Where the file of an image is: its path is absolute, or begins in the folder of the Parquet file."""
    return path if Path(path).is_absolute() else f"{folder}/{path}"


def read_beside(folder: Path, path: str | None) -> bytes:
    """The bytes of an image's file in the folder of the Parquet file; empty where there is none, or not in it."""
    if not path:
        return b""
    try:
        return read_image_file(place_beside(folder, path), str(folder))
    except BrokenImageError as error:
        none = NoImage()
        none.reason = f"its file {path} can't be read: {error.reason}"
        return none


def refuse_packed(file: pq.ParquetFile, group: int, column: str) -> None:
    """Raise `DataError` if the images of a row group would grow far beyond what images are compressed to."""
    rows = file.metadata.row_group(group).num_rows
    for chunk in column_chunks(file, group):
        if chunk.column == column:
            if chunk.unpacked > LARGEST_IMAGE * max(rows, 1):
                raise DataError(f"row group {group} has {chunk.unpacked} bytes of images in {rows} rows: no cutouts")
            if chunk.unpacked > UNPACKED and chunk.unpacked > PACKED * max(chunk.packed, 1):
                raise DataError(
                    f"row group {group} unpacks from {chunk.packed} to {chunk.unpacked} bytes, which no images do"
                )


def rows_at_once(file: pq.ParquetFile, group: int, column: str) -> int:
    """How many images of a row group may be read at once: few where one of its bytes may stand for many images."""
    for chunk in column_chunks(file, group):
        if chunk.path in (column, f"{column}.bytes") and chunk.has_dictionary:
            return int(max(1, min(ROWS, AT_ONCE // max(chunk.unpacked, 1))))
    return ROWS


def refuse_packed_texts(path: Path | str, file: pq.ParquetFile, names: Iterable[str]) -> None:
    """Raise `DataError` if columns other than the images would take far more memory than columns of a table do.

    A short file may hold one text of gigabytes, or one text that counts for a million rows.
    """
    wanted = set(names)
    for group in range(file.num_row_groups):
        rows = max(file.metadata.row_group(group).num_rows, 1)
        for chunk in column_chunks(file, group):
            name, size = chunk.column, chunk.unpacked
            if name in wanted and size > UNPACKED and size > LARGEST_TEXT * rows:
                raise DataError(f"{path}: column {name!r} has {size} bytes in {rows} rows, as no table has")
            repeated = chunk.has_dictionary and chunk.is_bytes
            if name in wanted and repeated and size * rows > LARGEST_COLUMN:
                _refuse_repeated(path, group, name)


def _refuse_repeated(path: Path | str, group: int, name: str) -> None:
    """Look at the texts that stand for many rows, without repeating them."""
    with pq.ParquetFile(path, read_dictionary=[name]) as once:
        for values in once.read_row_group(group, columns=[name]).column(0).chunks:
            if not pa.types.is_dictionary(values.type):
                continue
            longest = pc.max(pc.binary_length(values.dictionary)).as_py() or 0
            if longest > LARGEST_TEXT:
                raise DataError(f"{path}: column {name!r} repeats a text of {longest} bytes, as no table does")


def features(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's description of each column; empty where there is none."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: about for name, about in found.items() if isinstance(about, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _holds_images(schema: pa.Schema, name: str) -> bool:
    if schema.names.count(name) != 1:
        return False
    kind = schema.field(name).type
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        kind = kind.field(place).type if place >= 0 else kind
        if pa.types.is_null(kind):  # no image has bytes: all are given by their paths
            return True
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _holds_paths(schema: pa.Schema, name: str) -> bool:
    return schema.names.count(name) == 1 and _is_text(schema.field(name).type)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
