"""The form of cutouts on disk: columns, types, metadata, and reading and writing them in bounded memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skythaw.data.hats_folders import ENDINGS, PROPERTIES, files_with_rows
from skythaw.data.parquet_images import (
    image_column,
    image_pieces,
    images_in,
    read_beside,
    refuse_packed,
    refuse_packed_texts,
    require_images,
    rows_at_once,
)
from skythaw.data.parquet_labels import label_column, named_labels, without_none
from skythaw.errors import DataError
from skythaw.machine.files import writing
from skythaw.machine.machine_fault import raise_if_memory_is_short
from skythaw.machine.walk_folders import walk

SCHEMA = 1
GROUP_ROWS = 1000
GROUP_BYTES = 64 << 20
"""A row group ends after so many rows or bytes of images, whichever comes first."""

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
OWN = ("object_id", "label", "image", "sha256")
Row = Mapping[str, Any]


def find_files(path: Path) -> tuple[Path, ...]:
    """The Parquet file at `path`; or those of the folder at `path`, sorted by name.

    Their names end in .parquet or .pq, in any case. Of a HATS catalogue these are its partitions. A folder without
    Parquet files stands for the folders in it.
    """
    if os.path.isdir(path):  # noqa: PTH112 (False, not an error, where it may not be looked at)
        files = sorted(each for each in path.glob("[!.]*") if each.name.lower().endswith(ENDINGS))
        if not files or any(path.glob("Norder=*")) or any((path / name).exists() for name in PROPERTIES):
            files = _below(path)
        if files:
            return tuple(files)
        raise DataError(f"the folder {path} holds no *.parquet file; folders of images: skythaw data import")
    if not os.path.exists(path):  # noqa: PTH110
        raise DataError(f"there is no file {path}, or it may not be read")
    if not os.path.isfile(path):  # noqa: PTH113
        raise DataError(f"{path} is a pipe or a device; a Parquet file or a folder of them is read")
    return (path,)


def _below(folder: Path) -> list[Path]:
    """The Parquet files at any depth that hold rows."""
    names = [f"{here}/{name}" for here, found, _ in walk(str(folder)) for name in found]
    try:
        return [Path(name) for name in files_with_rows(names, folder.as_posix(), _beginning)]
    except OSError as error:
        raise DataError(f"can't look into {folder}: {error.strerror or error}") from None


def _beginning(path: str) -> str:
    with Path(path).open("rb") as file:
        return file.read(1 << 20).decode(errors="replace")


def read_columns(path: Path, need_labels: bool) -> pa.Table:
    """Read and check every column of a file except the images; ids and labels become text.

    The column of labels becomes `label`, with names where Hugging Face's description gives them. A file without
    `object_id` stays without.

    Raises
    ------
    DataError
        The file is not Parquet, is damaged, or lacks a column of the right type.
    """
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        require_images(path, schema)
        label = label_column(schema)
        if label is None and need_labels:
            raise DataError(f"{path} lacks the column label; it has {', '.join(schema.names)}")
        names = [name for name in schema.names if name != image_column(schema)]
        refuse_packed_texts(path, file, names)
        table = file.read(columns=names)
    if label is None:
        table = table.append_column("label", pa.nulls(table.num_rows, pa.string()))
    else:
        labels = named_labels(path, schema, label, table[label])
        table = table.set_column(table.column_names.index(label), "label", labels)
    for name in {"object_id", "label", "sha256"} & set(table.column_names):
        texts = _text(path, name, table[name])
        texts = without_none(texts) if name == "label" else texts
        table = table.set_column(table.column_names.index(name), name, texts)
    if "object_id" in table.column_names and table["object_id"].null_count:
        raise DataError(f"{path}: {table['object_id'].null_count} rows have no object_id; every object needs one")
    return table


def stream_images(paths: Sequence[Path], start: int) -> Iterator[bytes]:
    """The image bytes of all files in order, from row `start` on; empty bytes where there are none.

    An image that is given by its path alone is read from the folder of its Parquet file.
    """
    for path in paths:
        with reading(path), pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            pieces = image_pieces(file.schema_arrow)
            name = pieces[0].partition(".")[0]
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if start >= rows:
                    start -= rows
                    continue
                refuse_packed(file, group, name)
                step = rows_at_once(file, group, name)
                for batch in file.iter_batches(step, row_groups=[group], columns=list(pieces)):
                    images = batch.column(0)
                    for data, beside in images_in(images[start:]):
                        yield data or read_beside(path.parent, beside)
                    start = max(0, start - len(images))


def recipe_of(schema: pa.Schema) -> dict[str, Any]:
    """How a file says it was made; empty if it does not say so in our form."""
    try:
        content = json.loads((schema.metadata or {})[b"skythaw"])
    except (KeyError, ValueError):
        return {}
    recipe = content.get("recipe") if isinstance(content, dict) else None
    return recipe if isinstance(recipe, dict) else {}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises on a missing, foreign or damaged file into a `DataError` that names it."""
    try:
        yield
    except UnicodeEncodeError:
        raise DataError(f"can't read {path} as Parquet: its name is not in UTF-8; rename it") from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:  # the last of names of columns
        raise_if_memory_is_short(error)
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        if _is_something_else(path):
            reason = f"it is no Parquet file; of images, `skythaw data import {path} OUT.parquet` makes one"
        raise DataError(f"can't read {path} as Parquet: {reason}") from None


def _is_something_else(path: Path) -> bool:
    """Whether a file begins otherwise than Parquet."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) != b"PAR1"
    except OSError:
        return False


@contextmanager
def parquet_writer(file: BinaryIO, schema: pa.Schema, name: Path) -> Iterator[Callable[[pa.Table], None]]:
    """A function that appends a table to `file` as one row group; `name` is for errors."""
    plain = [field for field in schema.names if field != "image"]
    codecs = {"image.bytes": "none", "image.path": "zstd"} | dict.fromkeys(plain, "zstd")
    options: dict[str, Any] = {"compression": codecs, "use_dictionary": plain, "write_statistics": plain}
    with writing(name):
        writer = pq.ParquetWriter(file, schema, write_page_checksum=True, **options)

    def add(table: pa.Table) -> None:
        with writing(name):
            writer.write_table(table)

    try:
        yield add
        with writing(name):
            writer.close()
    finally:
        writer.is_open = False  # after a failure its destructor would try, and fail, once more


def schema_of(columns: Sequence[tuple[str, pa.DataType]], recipe: Mapping[str, Any]) -> pa.Schema:
    """The schema of a file, with the recipe, and Hugging Face's description of the columns, as metadata."""
    names = [*OWN, *(name for name, _ in columns)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"two columns would be called {twice[0]!r}; {', '.join(OWN)} are always there")
    text = pa.string()
    fields = [("object_id", text), ("label", text), *columns, ("image", IMAGE), ("sha256", text)]
    dtypes = {"double": "float64", "float": "float32", "halffloat": "float16"}
    features = {
        name: {"_type": "Image"} if name == "image" else {"dtype": dtypes.get(str(kind), str(kind)), "_type": "Value"}
        for name, kind in fields
    }
    own = json.dumps({"schema": SCHEMA, "recipe": dict(recipe)}, sort_keys=True, allow_nan=False)
    return pa.schema(fields, {"skythaw": own, "huggingface": json.dumps({"info": {"features": features}})})


def row_groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Gather rows into lists of at most `GROUP_ROWS` rows and about `GROUP_BYTES` of images."""
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row["image"])
        if len(group) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def group_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a table of `schema`, with the checksum of each image."""
    values: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in schema.names}
    values["image"] = [{"bytes": row["image"], "path": row.get("image_path")} for row in rows]
    values["sha256"] = [hashlib.sha256(row["image"]).hexdigest() for row in rows]
    arrays = []
    for field in schema:
        try:
            arrays.append(pa.array(values[field.name], field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise_if_memory_is_short(error)
            raise DataError(f"column {field.name!r} should hold {field.type}: {error}") from None
    return pa.Table.from_arrays(arrays, schema=schema)


def _text(path: Path, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids, labels and checksums as text; an empty text is a null."""
    if pa.types.is_floating(values.type):
        raise DataError(f"{path}: column {name!r} holds {values.type} numbers, which lose digits; make it text")
    try:
        values = values.cast(pa.string())
    except pa.ArrowException:
        raise DataError(f"{path}: column {name!r} is {values.type}; it should be text") from None
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
