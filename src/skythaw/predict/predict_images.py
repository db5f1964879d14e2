"""Predict any number of images into one file, in bounded memory; whatever stops it, the same call goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from skythaw.bundle.backends import Backend, open_backend, require_backend
from skythaw.bundle.bundle_file import BundleDescription, read_about
from skythaw.bundle.classifier import BATCH, Classifier
from skythaw.data.decode import BrokenImageError, decode, middle
from skythaw.machine.numerics import numerics
from skythaw.machine.processor import cores
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.image_contents import Content
from skythaw.predict.image_summary import PredictSummary
from skythaw.predict.in_threads import Item, batches, in_threads, middle_of, twins
from skythaw.predict.object_numbers import catalogue_mark, object_numbers
from skythaw.predict.prediction_files import UnfinishedPrediction, unfinished_prediction
from skythaw.predict.prediction_formats import check_output, write_table
from skythaw.predict.prediction_rows import OK, origin, rows_of, schema_of

SHARD = 10_000
"""rows"""
WANTED = "column of features"
"""the name under which is noted whether there is one; None stands for none, as in folders of older versions"""
BACKEND = "backend"
"""the name under which an unfinished prediction notes what it runs on"""
TRIED = 64
"""images, at most, with which the backends are compared"""
Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class PredictSettings:
    """How a prediction runs on this machine. Nothing here changes a number beyond rounding."""

    batch: int = BATCH
    """images that go through the network at once"""
    device: str = "auto"
    threads: int | None = None
    """batches at a time; None: one for each core, but one alone in each worker of a survey"""
    shard: int = SHARD
    """rows that are written at once"""
    backend: Literal["auto", "torch", "onnx"] = "auto"
    """auto: the fastest here of those that agree with torch"""
    features: bool = False
    """whether the features are wanted, too, in a column beside the probabilities"""


def predict_to(
    bundle: Path,
    inputs: Sequence[str | Path],
    out: Path,
    setting: PredictSettings | None = None,
    progress: Progress | None = None,
    *,
    table: Path | None = None,
) -> PredictSummary:
    """Write the probabilities of each class for many images: one row for each image, in the order of the inputs.

    The columns are `object_id`; `p_CLASS` for each class (calibrated; float32); `label`, the most probable class;
    `entropy` of the probabilities, from 0 (sure) to 1 (all alike); `distance` to the training images and its
    `percentile` among the distances of the validation images, where the bundle keeps training images
    (`skythaw.bundle.references`); `inputs`, where the bundle takes numbers beside images: ``both``, ``images`` or
    ``table``, by which the object was judged; `features`, if they are wanted: the input of the head, a list of one
    length, float32; and `status`: ``ok``, or why there are no probabilities, or why the image
    was not used. The rows are kept in the folder OUT.part until all are there. If the call is stopped, the same call
    goes on after the last rows that were written: after `EVERY`
    seconds, rows are on the disk.

    Parameters
    ----------
    bundle
        the classifier's folder
    inputs
        files, folders and patterns: see `skythaw.predict.find_inputs.find_inputs`
    out
        the file to make or replace: ``.parquet``, ``.csv`` or ``.ecsv``
    setting
        batch, device, threads, rows of a shard, backend, features
    progress
        called with the images and their number
    table
        a catalogue with the columns that the bundle takes beside images; None: they are in the Parquet files

    Raises
    ------
    BundleError, DataError
        There is no bundle; the inputs name nothing; another process writes the same file; no object has its numbers.
    SpecError, OutputError
        The file's ending is not known; OUT.part is of another bundle, other inputs or another backend; the backend
        can't run here; a file can't be written.
    """
    bundle, out, setting = Path(bundle), Path(out), setting or PredictSettings()
    check_output(out, lists=setting.features)
    about = read_about(bundle)
    require_backend(setting.backend, about, setting.device)
    part = out.with_name(f"{out.name}.part")
    images = find_inputs(inputs, (out, part))
    binding = {"bundle": about.sha256, "inputs": [str(given) for given in inputs], "objects": len(images)}
    binding |= {"table": catalogue_mark(table), WANTED: setting.features or None}
    start, numbers = time.perf_counter(), object_numbers(about, images, table)
    summary = PredictSummary(passed_over=images.passed_over, notes=(*images.notes, *numbers.notes))
    with unfinished_prediction(
        part, binding | {"set of files (names, sizes or times)": images.sha256}, setting.shard
    ) as unfinished:
        summary.resumed = unfinished.rows
        if unfinished.rows < len(images):
            items = numbers.beside(images.items(unfinished.rows), unfinished.rows)
            shown = items if progress is None else progress(items, len(images) - unfinished.rows)
            with numerics(1, about.seed, setting.device):
                backend, all_items = begin(bundle, about, setting, unfinished, iter(shown))
                begun = time.perf_counter()
                for rows in predictions(backend, all_items, setting, unfinished.rows):
                    unfinished.add(rows)
                unfinished.flush()
                summary.computing = time.perf_counter() - begun
        summary.backend = unfinished.noted(BACKEND)
        tables = map(summary.count, unfinished.tables())
        schema = schema_of(about, summary.backend, features=setting.features)
        write_table(out, schema, tables, origin(about, summary.backend))
    summary.seconds = time.perf_counter() - start
    return summary


def begin(
    bundle: Path,
    about: BundleDescription,
    setting: PredictSettings,
    unfinished: UnfinishedPrediction,
    items: Iterator[Item],
) -> tuple[Backend, Iterator[Item]]:
    """Open the bundle with the backend that this prediction began with, or begins with now; and give back all images.

    The first images are read ahead where a backend is to be chosen by them.
    """
    name = unfinished.agreed(BACKEND, None if setting.backend == "auto" else setting.backend) or "auto"
    first = list(islice(items, TRIED)) if name == "auto" else []
    pixels = [middle_of(content, about.require, about.cell.pixels.crop) for _, content in first]
    readable = [image for image in pixels if not isinstance(image, str)]
    backend = open_backend(bundle, name, setting.device, readable, sha256=about.sha256)
    unfinished.note(BACKEND, backend.name)
    return backend, chain(first, items)


def predictions(
    backend: Backend, items: Iterable[Item], setting: PredictSettings, first: int = 0
) -> Generator[pa.Table, None, None]:
    """Predict images as they come, one batch in each thread. No image is read before its batch begins.

    Parameters
    ----------
    backend
        a bundle, opened to predict with it
    items
        name and content of each image
    setting
        batch, threads, rows of a shard, and whether features are wanted; a batch ends where a shard ends, so that rows
        do not depend on where a prediction was stopped
    first
        how many images were done before these: whole batches

    Yields
    ------
    pyarrow.Table
        the rows of one batch, in order; the columns are those of `schema_of`
    """
    classifier, threads = backend.classifier, setting.threads or cores()
    free = twins(backend, threads, classifier.device)
    schema = schema_of(classifier.about, backend.name, features=setting.features)
    yield from in_threads(
        lambda batch: _predicted(free, classifier, schema, batch),
        batches(items, setting.batch, setting.shard, first),
        threads,
    )


def _predicted(
    free: SimpleQueue[Backend], classifier: Classifier, schema: pa.Schema, batch: Sequence[Item]
) -> pa.Table:
    """Predictions of some images, by the next backend that is free."""
    pixels, own = zip(*(_looked_at(classifier, content) for _, content in batch), strict=True)
    status = np.array([image if isinstance(image, str) else OK for image in pixels], dtype=object)
    output = None
    if readable := [image for image in pixels if not isinstance(image, str)]:
        backend = free.get()
        try:
            output = backend.outputs(np.stack(readable))
        finally:
            free.put(backend)
    values = None
    if classifier.numbers:
        empty = np.full(int((~classifier.numbers.wants.is_measured).sum()), np.nan)
        given = np.stack([empty if content.numbers is None else content.numbers for _, content in batch])
        values = classifier.numbers.wants.together(given, np.stack(own))
    return rows_of(classifier, schema, [name for name, _ in batch], status, output, values)


def _looked_at(classifier: Classifier, content: Content) -> tuple[np.ndarray | str, np.ndarray | None]:
    """An image's middle pixels [y, x, band], or why there are none; and the numbers that are measured from it."""
    about, numbers = classifier.about, classifier.numbers
    if numbers is None:
        return middle_of(content, about.require, about.cell.pixels.crop), None
    try:
        whole = decode(content.read(), "", about.require)
    except BrokenImageError as error:
        return error.reason, np.full(int(numbers.wants.is_measured.sum()), np.nan)
    return middle(whole, about.cell.pixels.crop), numbers.wants.measure(whole[None])[0]
