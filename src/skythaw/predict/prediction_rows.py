"""The rows of predictions: their columns, and how the network's output becomes rows. Imports no torch."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.bundle.number_half import NEITHER, TABLE
from skythaw.bundle.probabilities import are_probabilities
from skythaw.data.parquet import parquet_writer
from skythaw.machine.files import plain_name
from skythaw.machine.package_version import version_of
from skythaw.machine.sealed_table import sealed

if TYPE_CHECKING:
    from skythaw.bundle.classifier import Classifier, ClassifierOutput

FAR, INPUTS, FEATURES = ("distance", "percentile"), "inputs", "features"
OK, NO_PROBABILITIES = "ok", "the network gives numbers that are no probabilities"
BY_NUMBERS = "by the numbers alone: "
"""begins the status of an object that was judged without its image; the reason follows"""


def schema_of(about: BundleDescription, backend: str, *, features: bool = False) -> pa.Schema:
    """The columns of predictions, with the features if they are wanted; the metadata say where they come from."""
    names = [f"p_{name}" for name in about.classes]
    fields = [
        ("object_id", pa.string()),
        *((name, pa.float32()) for name in names),
        ("label", pa.string()),
        ("entropy", pa.float32()),
        *((name, pa.float32()) for name in (FAR if about.references else ())),
        *((name, pa.string()) for name in ((INPUTS,) if about.numbers else ())),
        *(((FEATURES, features_type(about.features)),) if features else ()),
        ("status", pa.string()),
    ]
    return pa.schema(fields, {"skythaw": json.dumps(origin(about, backend), sort_keys=True)})


def features_type(number: int) -> pa.DataType:
    """Of a column with so many features in each row."""
    return pa.list_(pa.float32(), number)


def finite_features(found: np.ndarray, ok: np.ndarray) -> pa.Array:
    """A column with the features [found, feature] of the rows that are `ok`; null in the others, and if not finite."""
    finite, rows = np.isfinite(found).all(1), ok.copy()
    rows[ok] = finite
    values = np.zeros((len(rows), found.shape[1]), np.float32)
    values[rows] = found[finite]
    return pa.FixedSizeListArray.from_arrays(values.reshape(-1), found.shape[1], mask=pa.array(~rows))


def origin(about: BundleDescription, backend: str) -> dict[str, Any]:
    """Where predictions come from."""
    return {
        "schema": 1,
        "bundle": about.name,
        "bundle_sha256": about.sha256,
        "cell": about.cell.key,
        "classes": list(about.classes),
        "temperature": about.temperature,
        "backend": backend,
        "skythaw": version_of("skythaw"),
    }


def status_column(status: np.ndarray) -> pa.Array:
    """What is said of each image, as text that every file can hold: a reason may name a file."""
    return pa.array([each if each == OK else plain_name(each) for each in status], pa.string())


def rows_of(
    classifier: Classifier,
    schema: pa.Schema,
    names: Sequence[str],
    status: np.ndarray,
    output: ClassifierOutput | None,
    values: np.ndarray | None = None,
) -> pa.Table:
    """The rows of some images; the network saw only those whose status is OK.

    Parameters
    ----------
    classifier
        from a bundle
    schema
        see `schema_of`
    names
        of all images
    status
        of all images, text [object]; set here for images with numbers that are no probabilities
    output
        probabilities and features of the images whose status is OK, in order; None if there are none
    values
        of a classifier that takes numbers, too: those of all objects, float64 [object number]
    """
    references, ok = classifier.references, status == OK
    p = np.full((len(names), len(classifier.classes)), np.nan, np.float32)
    log_p = p.astype(np.float64)
    far = np.full((len(names), len(FAR) if references else 0), np.nan, np.float32)
    features = np.zeros((int(ok.sum()), classifier.about.features), np.float32) if output is None else output.features
    if output is not None:
        p[ok] = output.p
        if classifier.numbers:
            log_p[ok] = classifier.numbers.raw(output.p) if output.log_p is None else output.log_p
        if references:
            distances = references.distances(output.features)
            far[ok] = np.stack([distances, references.percentiles(distances)], axis=1)
    odd = ~are_probabilities(p)
    status[ok & odd] = NO_PROBABILITIES
    p[odd], log_p[odd] = np.nan, np.nan
    inputs = []
    if classifier.numbers and values is not None:
        answer = classifier.numbers.judge(log_p, values)
        p, inputs = answer.p, [pa.array(answer.inputs, pa.string(), mask=answer.inputs == NEITHER)]
        alone = answer.inputs == TABLE
        status[alone] = [BY_NUMBERS + reason for reason in status[alone]]
    known, p = are_probabilities(p), p.clip(0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0).sum(1) / np.log(p.shape[1])
    labels = np.array(classifier.classes, dtype=object)[np.where(known, np.nan_to_num(p).argmax(1), 0)]
    columns = [
        pa.array(names, pa.string()),
        *(pa.array(column, pa.float32(), mask=~known) for column in p.T),
        pa.array(labels, pa.string(), mask=~known),
        pa.array(np.abs(entropy.clip(-1, 1)), pa.float32(), mask=~known),
        *(pa.array(column, pa.float32(), mask=~(known & ok)) for column in far.T),
        *inputs,
        *((finite_features(features, ok),) if FEATURES in schema.names else ()),
        status_column(status),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def as_bytes(tables: Sequence[pa.Table], schema: pa.Schema) -> bytes:
    """Tables as one Parquet file."""
    file, table = io.BytesIO(), sealed(pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table())
    with parquet_writer(file, table.schema, Path("a shard")) as write:
        write(table)
    return file.getvalue()
