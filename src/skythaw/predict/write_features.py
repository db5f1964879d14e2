"""`write_features`: what the command `skythaw features` does."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pyarrow as pa

from skythaw.data.sources.read_images import ImageOptions
from skythaw.machine.numerics import numerics
from skythaw.machine.processor import cores
from skythaw.predict.feature_network import FeatureNetwork
from skythaw.predict.feature_source import FeatureChoice, FeatureSource, find_source
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.image_summary import FeatureSummary
from skythaw.predict.in_threads import Item, batches, in_threads, middle_of, twins
from skythaw.predict.predict_images import BACKEND, PredictSettings, Progress
from skythaw.predict.predict_inputs import Told, counted
from skythaw.predict.prediction_files import unfinished_prediction
from skythaw.predict.prediction_formats import check_output, write_table
from skythaw.predict.prediction_rows import FEATURES, OK, features_type, finite_features, status_column
from skythaw.predict.unpack_inputs import unpacked

NOT_FINITE = "the network gives features that are not finite"


def write_features(
    choice: FeatureChoice,
    inputs: Sequence[str | Path],
    out: Path,
    *,
    setting: PredictSettings | None = None,
    images: ImageOptions | None = None,
    told: Told | None = None,
) -> FeatureSummary:
    """Write the features of many images into a Parquet file: one row for each image, in the order of the inputs.

    The columns are `object_id`; `features`, a list of one length, float32, or null; and `status`: ``ok``, or why there
    are none. If the call is stopped, the same call goes on.

    Parameters
    ----------
    choice
        network, depth, and how a backbone sees an image
    inputs
        files, folders, patterns, archives and arrays, as `skythaw.predict.predict_inputs.predict` takes them
    out
        the file to make or replace: ``.parquet``
    setting
        batch, device, threads, rows of a shard, backend
    images
        how image files are read, as `skythaw data import` was told; None: as they are
    told
        called when a part of a step is done

    Raises
    ------
    SkythawError
        See `find_source`, and `skythaw.predict.predict_images.predict_to`.
    """
    out, told = Path(out), told or (lambda _step, _done, _all: None)
    check_output(out, lists=True)
    with unpacked(inputs, out, images) as readable:
        summary = features_to(
            choice,
            readable.paths,
            out,
            setting or PredictSettings(),
            lambda items, total: counted(items, total, "computing features", told),
        )
    done = tuple(f"{count:,} images: {what}" for what, count in readable.changed.items())
    return replace(
        summary,
        passed_over={**summary.passed_over, **readable.passed_over},
        notes=(*summary.notes, *(done if images is not None else ())),
    )


def features_to(
    choice: FeatureChoice,
    inputs: Sequence[str | Path],
    out: Path,
    setting: PredictSettings,
    progress: Progress | None = None,
) -> FeatureSummary:
    """The same of files, folders and patterns alone."""
    part, start = out.with_name(f"{out.name}.part"), time.perf_counter()
    images = find_inputs(inputs, (out, part))
    source = find_source(choice, images)
    binding = {"features": source.origin, "inputs": [str(given) for given in inputs], "objects": len(images)}
    summary = FeatureSummary(
        network=source.origin["network"], depth=choice.depth, passed_over=images.passed_over, notes=images.notes
    )
    with unfinished_prediction(
        part, binding | {"set of files (names, sizes or times)": images.sha256}, setting.shard
    ) as unfinished:
        summary.resumed = unfinished.rows
        items = images.items(unfinished.rows)
        shown = items if progress is None else progress(items, len(images) - unfinished.rows)
        with numerics(1, source.seed, setting.device):
            network, all_items = source.open(setting, unfinished, iter(shown))
            begun = time.perf_counter()
            for rows in _rows(network, source, all_items, setting, unfinished.rows):
                unfinished.add(rows)
            unfinished.flush()
            summary.computing = time.perf_counter() - begun
        summary.width, summary.backend = network.width, network.name
        schema = _schema(source, network)
        write_table(out, schema, map(summary.count, unfinished.tables()), source.origin)
    summary.seconds = time.perf_counter() - start
    return summary


def _rows(
    network: FeatureNetwork, source: FeatureSource, items: Iterator[Item], setting: PredictSettings, first: int
) -> Generator[pa.Table, None, None]:
    """The rows of each batch, in order; `first` images were done before."""
    threads, schema = setting.threads or cores(), _schema(source, network)
    free = twins(network, threads, network.device)
    yield from in_threads(
        lambda batch: _of_batch(free, source, schema, batch),
        batches(items, setting.batch, setting.shard, first),
        threads,
    )


def _of_batch(
    free: SimpleQueue[FeatureNetwork], source: FeatureSource, schema: pa.Schema, batch: Sequence[Item]
) -> pa.Table:
    """The rows of some images, by the next network that is free."""
    pixels = [middle_of(content, source.require, source.crop) for _, content in batch]
    status = np.array([image if isinstance(image, str) else OK for image in pixels], dtype=object)
    ok = status == OK
    found = np.zeros((0, schema.field(FEATURES).type.list_size), np.float32)
    if readable := [image for image in pixels if not isinstance(image, str)]:
        network = free.get()
        try:
            found = network.features(np.stack(readable))
        finally:
            free.put(network)
    column = finite_features(found, ok)
    status[ok & np.asarray(column.is_null())] = NOT_FINITE
    names = [name for name, _ in batch]
    return pa.Table.from_arrays([pa.array(names, pa.string()), column, status_column(status)], schema=schema)


def _schema(source: FeatureSource, network: FeatureNetwork) -> pa.Schema:
    """The columns of the file; the metadata say of what network and depth the features are."""
    fields = [("object_id", pa.string()), (FEATURES, features_type(network.width)), ("status", pa.string())]
    return pa.schema(fields, {"skythaw": json.dumps(source.origin | {BACKEND: network.name}, sort_keys=True)})
