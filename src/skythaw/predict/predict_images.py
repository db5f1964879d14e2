"""Run a classifier over any number of images, in bounded memory; whatever stops it, the same call goes on."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from threadpoolctl import threadpool_limits

from skythaw.bundle.backends import Backend, open_backend, require_backend
from skythaw.bundle.bundle_file import About, read_about
from skythaw.bundle.classifier import BATCH, Classifier
from skythaw.data.decode import BrokenImageError, decode, middle
from skythaw.machine.numerics import numerics
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.image_contents import Content
from skythaw.predict.prediction_files import Shards, check_output, shards, write_table
from skythaw.predict.prediction_rows import OK, origin, rows_of, schema_of

SHARD = 10_000
"""rows"""
BACKEND = "backend"
"""by this name an unfinished prediction keeps what it runs on"""
TRIED = 64
"""images, at most, by which a backend is chosen"""
Progress = Callable[[Iterable[Any], int], Iterable[Any]]
Item = tuple[str, Content]


@dataclass(frozen=True)
class PredictSettings:
    """How a prediction runs on this machine; nothing of it changes a number beyond rounding."""

    batch: int = BATCH
    """images for the network at once"""
    device: str = "auto"
    threads: int = 1
    """batches at a time"""
    shard: int = SHARD
    """rows that are kept together while it lasts"""
    backend: Literal["auto", "torch", "onnx"] = "auto"
    """auto: the fastest here of those that say what torch says"""


@dataclass
class PredictSummary:
    """What became of the images."""

    objects: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    """how many were found to be each"""
    failed: Counter[str] = field(default_factory=Counter)
    """how many got no probabilities, by reason"""
    backend: str = ""
    """what the network ran on"""
    resumed: int = 0
    """how many were done before"""
    seconds: float = 0.0
    """in all"""
    predicting: float = 0.0
    """seconds from the first image to the last, the classifier being loaded"""

    @property
    def ok(self) -> int:
        return self.classes.total()

    @property
    def rate(self) -> float:
        """Images a second, of those done now."""
        return (self.objects - self.resumed) / self.predicting if self.predicting else 0.0

    def count(self, table: pa.Table) -> pa.Table:
        """Take note of some rows, which are handed on."""
        self.objects += len(table)
        self.classes.update(label for label in table["label"].to_pylist() if label is not None)
        self.failed.update(status for status in table["status"].to_pylist() if status != OK)
        return table


def predict_to(
    bundle: Path,
    inputs: Sequence[str | Path],
    out: Path,
    setting: PredictSettings | None = None,
    progress: Progress | None = None,
) -> PredictSummary:
    """Write the probabilities of each class for many images, one row an image, in the order of the inputs.

    Columns: `object_id`; `p_CLASS` for each class (calibrated; float32); `label`, the most probable; `entropy` of the
    probabilities, from 0 (sure) to 1 (all alike); where the bundle keeps training images (`skythaw.bundle.references`)
    `distance` to them, and its `percentile` among the distances of validation; `status`, ``ok`` or why there are no
    probabilities. Rows are kept in the folder OUT.part until all are there; called again, it goes on after the last
    whole shard of them.

    Parameters
    ----------
    bundle
        the classifier's folder
    inputs
        files, folders and patterns: see `skythaw.predict.find_inputs.find_inputs`
    out
        the file to make or replace: ``.parquet``, ``.csv`` or ``.ecsv``
    setting
        batch, device, threads, backend
    progress
        called with the images and their number

    Raises
    ------
    BundleError, DataError
        No bundle; inputs that name nothing; another process writes the same file.
    SpecError, OutputError
        A bad ending; OUT.part is of another bundle, other inputs or another backend; the backend can't be had; a file
        can't be written.
    """
    bundle, out, setting = Path(bundle), Path(out), setting or PredictSettings()
    check_output(out)
    about = read_about(bundle)
    require_backend(setting.backend, about, setting.device)
    part = out.with_name(f"{out.name}.part")
    found = find_inputs(inputs, (out, part))
    binding = {"bundle": about.sha256, "inputs": [str(each) for each in inputs], "objects": len(found)}
    start, summary = time.perf_counter(), PredictSummary()
    with shards(part, binding | {"set of files (names, sizes or times)": found.sha256}, setting.shard) as unfinished:
        summary.resumed = unfinished.rows
        if unfinished.rows < len(found):
            items = found.items(unfinished.rows)
            shown = items if progress is None else progress(items, len(found) - unfinished.rows)
            with numerics(1, about.seed, setting.device):
                backend, all_items = _begin(bundle, about, setting, unfinished, iter(shown))
                begun = time.perf_counter()
                for table in _gathered(predictions(backend, all_items, setting), setting.shard):
                    unfinished.add(table)
                summary.predicting = time.perf_counter() - begun
        summary.backend = unfinished.noted(BACKEND)
        tables = map(summary.count, unfinished.tables())
        write_table(out, schema_of(about, summary.backend), tables, origin(about, summary.backend))
    summary.seconds = time.perf_counter() - start
    return summary


def _begin(
    bundle: Path, about: About, setting: PredictSettings, unfinished: Shards, items: Iterator[Item]
) -> tuple[Backend, Iterator[Item]]:
    """Open the bundle with the backend that this prediction began with, or begins with now; and give back all images.

    The first images are read ahead where a backend is to be chosen by them.
    """
    name = unfinished.agreed(BACKEND, None if setting.backend == "auto" else setting.backend) or "auto"
    first = list(islice(items, TRIED)) if name == "auto" else []
    pixels = [_pixels(about, content) for _, content in first]
    readable = [image for image in pixels if not isinstance(image, str)]
    backend = open_backend(bundle, name, setting.device, readable, sha256=about.sha256)
    unfinished.note(BACKEND, backend.name)
    return backend, chain(first, items)


def predictions(backend: Backend, items: Iterable[Item], setting: PredictSettings) -> Generator[pa.Table, None, None]:
    """Predict images as they come, a batch in each thread; no more is read than the batches under way.

    On a CPU every thread has a network of its own with the same weights: on tasks this small, threads that share the
    work of one layer wait for each other (2 cores, one of them busy otherwise, MobileNetV2 at 64 px: 500 images/s in
    one thread, 60 in two that share). A GPU gets one batch at a time, while other threads read and decode.

    Parameters
    ----------
    backend
        a bundle, opened to predict with it
    items
        name and content of each image
    setting
        a batch never reaches over the end of a shard, so that rows don't depend on where a prediction was stopped

    Yields
    ------
    pyarrow.Table
        of `schema_of`, the rows of one batch, in order
    """
    classifier = backend.classifier
    free: SimpleQueue[Backend] = SimpleQueue()
    for number in range(setting.threads if classifier.device.type == "cpu" else 1):
        free.put(backend.twin() if number else backend)
    schema = schema_of(classifier.about, backend.name)
    pool = ThreadPoolExecutor(setting.threads, "skythaw", initializer=torch.set_flush_denormal, initargs=(True,))
    waiting: deque[Future[pa.Table]] = deque()
    with threadpool_limits(1, "blas"):  # whose threads, for a product this small, spin and take cores from the others
        try:
            for batch in _batches(items, setting):
                waiting.append(pool.submit(_predicted, free, classifier, schema, batch))
                if len(waiting) > setting.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(items: Iterable[Item], setting: PredictSettings) -> Iterator[list[Item]]:
    stream, row = iter(items), 0
    while batch := list(islice(stream, min(setting.batch, setting.shard - row % setting.shard))):
        row += len(batch)
        yield batch


def _predicted(
    free: SimpleQueue[Backend], classifier: Classifier, schema: pa.Schema, batch: Sequence[Item]
) -> pa.Table:
    """Predictions of some images, by the next backend that is free."""
    pixels = [_pixels(classifier.about, content) for _, content in batch]
    status = np.array([image if isinstance(image, str) else OK for image in pixels], dtype=object)
    seen = None
    if readable := [image for image in pixels if not isinstance(image, str)]:
        backend = free.get()
        try:
            seen = backend.see(np.stack(readable))
        finally:
            free.put(backend)
    return rows_of(classifier, schema, [name for name, _ in batch], status, seen)


def _pixels(about: About, content: Content) -> np.ndarray | str:
    """An image's middle pixels [y, x, band], or why there are none."""
    try:
        return middle(decode(content.read(), "", about.require), about.cell.pixels.crop)
    except BrokenImageError as error:
        return error.reason


def _gathered(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Tables joined to shards of `size` rows; the last may have less."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= size:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()
