"""Labels of Parquet files as Hugging Face `datasets` shows them: numbers with names, and -1 where there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from skythaw.data.class_names import is_no_label
from skythaw.data.parquet_images import features
from skythaw.errors import DataError

NAMES = ("label", "labels", "class", "class_name", "fine_label", "target", "category", "cls")
PART = re.compile(r"(train|test|validation|valid|val|dev)(?![A-Za-z])", re.IGNORECASE)
PARTS = {"valid": "validation", "val": "validation", "dev": "validation"}


def label_column(schema: pa.Schema) -> str | None:
    """The column that holds the labels: by its name, or by Hugging Face's description of it."""
    classes = [name for name, about in features(schema).items() if about.get("_type") == "ClassLabel"]
    usual = [name for name in NAMES if name in classes] + classes
    return next((name for name in (NAMES[0], *usual, *NAMES) if _holds_labels(schema, name)), None)


def named_labels(path: Path, schema: pa.Schema, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The labels by name, as text; null where there is none.

    Numbers are looked up among the names that Hugging Face's description gives, and -1 is no label. Without names -1 is
    none either, unless 1 is the only other number: then both are classes.

    Raises
    ------
    DataError
        A number has no name.
    """
    if pa.types.is_floating(values.type):
        values = _whole(values)
    if not pa.types.is_integer(values.type):
        return values
    names = features(schema).get(name, {}).get("names")
    if isinstance(names, list) and names and features(schema)[name].get("_type") == "ClassLabel":
        known = pc.unique(values).to_pylist()
        if odd := [one for one in known if one is not None and not -1 <= one < len(names)]:
            raise DataError(
                f"{path}: column {name!r} has the number {odd[0]}, and names for 0 to {len(names) - 1} alone"
            )
        texts = pa.array([*map(str, names), None], pa.string())
        return texts.take(pc.if_else(pc.equal(values, -1), len(names), values).combine_chunks())
    others = set(pc.unique(values).to_pylist()) - {-1, None}
    if others == {1}:
        return values
    return pc.if_else(pc.equal(values, -1), pa.scalar(None, values.type), values)


def without_none(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels as text, null where the text says that there is none (``nan``, ``NA``, ...), as for tables of labels."""
    none = [label for label in pc.unique(labels).to_pylist() if label is not None and is_no_label(label)]
    return pc.if_else(pc.is_in(labels, pa.array(none, pa.string())), pa.scalar(None, pa.string()), labels)


def _whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimal numbers as whole ones, if all are: a table with missing labels makes 0.0, 1.0, NaN of 0, 1."""
    try:
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values).cast(pa.int64())
    except pa.ArrowException:
        return values


def parts_of(paths: Sequence[Path], folder: Path) -> list[str] | None:
    """The part (``train``, ``validation``, ``test``) that each file's name or folder says; None unless they differ."""
    found = []
    for path in paths:
        names = [path.name, *(above.name for above in path.parents if above != folder and folder in above.parents)]
        part = next((each[1].lower() for name in names if (each := PART.match(name))), None)
        found.append(PARTS.get(part, part) if part else None)
    return [str(part) for part in found] if None not in found and len(set(found)) > 1 else None


def _holds_labels(schema: pa.Schema, name: str) -> bool:
    if schema.names.count(name) != 1:
        return False
    kind = schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return name == NAMES[0] or pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
