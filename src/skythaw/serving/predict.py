"""Run a classifier over any number of images, in bounded memory; whatever stops it, the same call goes on."""

from __future__ import annotations

import copy
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from skythaw.data.images import BrokenImageError, decode, probe
from skythaw.errors import DataError
from skythaw.serving.bundle import About, read_about
from skythaw.serving.classifier import BATCH, Classifier, load
from skythaw.serving.inputs import find_inputs
from skythaw.serving.sources import Content
from skythaw.serving.tables import check_output, shards, write_table
from skythaw.study.machine import numerics

OK, NOT_FINITE = "ok", "the network gives numbers that are not finite"
FAR = ("distance", "percentile")
SHARD = 10_000
"""rows"""
Progress = Callable[[Iterable[Any], int], Iterable[Any]]
Item = tuple[str, Content]


@dataclass(frozen=True)
class Setting:
    """How a prediction runs on this machine; nothing of it changes a number beyond rounding."""

    batch: int = BATCH
    """images for the network at once"""
    device: str = "auto"
    threads: int = 1
    """batches at a time"""
    shard: int = SHARD
    """rows that are kept together while it lasts"""


@dataclass
class Summary:
    """What became of the images."""

    objects: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    """how many were found to be each"""
    failed: Counter[str] = field(default_factory=Counter)
    """how many got no probabilities, by reason"""
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
    setting: Setting | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Write the probabilities of each class for many images, one row an image, in the order of the inputs.

    Columns: `object_id`; `p_CLASS` for each class (calibrated; float32); `label`, the most probable; `entropy` of the
    probabilities, from 0 (sure) to 1 (all alike); where the bundle keeps training images (`skythaw.serving.references`)
    `distance` to them, and its `percentile` among the distances of validation; `status`, ``ok`` or why there are no
    probabilities. Rows are kept in the folder OUT.part until all are there; called again, it goes on after the last
    whole shard of them.

    Parameters
    ----------
    bundle
        the classifier's folder
    inputs
        files, folders and patterns: see `skythaw.serving.inputs.find_inputs`
    out
        the file to make or replace: ``.parquet``, ``.csv`` or ``.ecsv``
    setting
        batch, device, threads
    progress
        called with the images and their number

    Raises
    ------
    BundleError, DataError
        No bundle; inputs that name nothing; another process writes the same file.
    SpecError, OutputError
        A bad ending; OUT.part is of another bundle or other inputs; a file can't be written.
    """
    bundle, out, setting = Path(bundle), Path(out), setting or Setting()
    check_output(out)
    about = read_about(bundle)
    part = out.with_name(f"{out.name}.part")
    found = find_inputs(inputs, (out, part))
    binding = {"bundle": about.sha256, "inputs": [str(each) for each in inputs], "objects": len(found)}
    start, summary = time.perf_counter(), Summary()
    with shards(part, binding | {"set of files (names, sizes or times)": found.sha256}, setting.shard) as kept:
        summary.resumed = kept.rows
        if kept.rows < len(found):
            items = found.items(kept.rows)
            steps = items if progress is None else progress(items, len(found) - kept.rows)
            with numerics(1, about.seed, setting.device):
                classifier = load(bundle, device=setting.device)
                begun = time.perf_counter()
                for table in _gathered(predictions(classifier, steps, setting), setting.shard):
                    kept.add(table)
                summary.predicting = time.perf_counter() - begun
        write_table(out, schema_of(about), map(summary.count, kept.tables()), origin(about))
    summary.seconds = time.perf_counter() - start
    return summary


def predictions(classifier: Classifier, items: Iterable[Item], setting: Setting) -> Generator[pa.Table, None, None]:
    """Predict images as they come, a batch in each thread; no more is read than the batches under way.

    On a CPU every thread has a network of its own with the same weights: on tasks this small, threads that share the
    work of one layer wait for each other (2 cores, one of them busy otherwise, MobileNetV2 at 64 px: 500 images/s in
    one thread, 60 in two that share). A GPU gets one batch at a time, while other threads read and decode.

    Parameters
    ----------
    classifier
        from a bundle
    items
        name and content of each image
    setting
        a batch never reaches over the end of a shard, so that rows don't depend on where a prediction was stopped

    Yields
    ------
    pyarrow.Table
        of `schema_of`, the rows of one batch, in order
    """
    networks: SimpleQueue[Classifier] = SimpleQueue()
    for number in range(setting.threads if classifier.device.type == "cpu" else 1):
        networks.put(_twin(classifier) if number else classifier)
    pool = ThreadPoolExecutor(setting.threads, "skythaw", initializer=torch.set_flush_denormal, initargs=(True,))
    waiting: deque[Future[pa.Table]] = deque()
    try:
        for batch in _batches(items, setting):
            waiting.append(pool.submit(_table, networks, classifier, batch))
            if len(waiting) > setting.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def schema_of(about: About) -> pa.Schema:
    """The columns of predictions, with their origin as metadata."""
    names = [f"p_{name}" for name in about.classes]
    fields = [
        ("object_id", pa.string()),
        *((name, pa.float32()) for name in names),
        ("label", pa.string()),
        ("entropy", pa.float32()),
        *((name, pa.float32()) for name in (FAR if about.references else ())),
        ("status", pa.string()),
    ]
    return pa.schema(fields, {"skythaw": json.dumps(origin(about), sort_keys=True)})


def origin(about: About) -> dict[str, Any]:
    """Where predictions come from."""
    return {
        "schema": 1,
        "bundle": about.name,
        "bundle_sha256": about.sha256,
        "cell": about.cell.key,
        "classes": list(about.classes),
        "temperature": about.temperature,
        "skythaw": version("skythaw"),
    }


def _batches(items: Iterable[Item], setting: Setting) -> Iterator[list[Item]]:
    stream, row = iter(items), 0
    while batch := list(islice(stream, min(setting.batch, setting.shard - row % setting.shard))):
        row += len(batch)
        yield batch


def _twin(classifier: Classifier) -> Classifier:
    """The same classifier for another thread: modes and modules of its own, weights in common."""
    model = classifier.model
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return Classifier(classifier.about, copy.deepcopy(model, shared), classifier.device, classifier.references)


def _pixels(classifier: Classifier, content: Content) -> np.ndarray | str:
    """An image's middle pixels [y, x, band], or why there are none."""
    crop = classifier.about.cell.pixels.crop
    try:
        data = content.read()
        form = probe(data)
        classifier.require(form)
        top, left = ((length - crop) // 2 for length in form.size)
        return decode(data, "")[top : top + crop, left : left + crop].copy()
    except BrokenImageError as error:
        return error.reason
    except DataError as error:
        return str(error)


def _table(networks: SimpleQueue[Classifier], classifier: Classifier, batch: Sequence[Item]) -> pa.Table:
    """Predictions of some images, by the next network that is free."""
    found = [_pixels(classifier, content) for _, content in batch]
    status = [each if isinstance(each, str) else OK for each in found]
    p = np.full((len(batch), len(classifier.classes)), np.nan, np.float32)
    far = np.full((len(batch), len(FAR) if classifier.references else 0), np.nan, np.float32)
    if images := [each for each in found if not isinstance(each, str)]:
        filled = images + images[:1] * (-len(images) % classifier.about.cell.recipe.batch)  # whole steps: the same bits
        network = networks.get()
        try:
            seen, ok = network.see(np.stack(filled)), [each == OK for each in status]
            p[ok] = seen.p[: len(images)]
            if classifier.references:
                distances = classifier.references.distances(seen.features[: len(images)])
                far[ok] = np.stack([distances, classifier.references.percentiles(distances)], 1)
        finally:
            networks.put(network)
    known = np.asarray(np.isfinite(p).all(1))
    status = [NOT_FINITE if each == OK and not good else each for each, good in zip(status, known, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0).sum(1) / np.log(p.shape[1])
    labels = np.array(classifier.classes, dtype=object)[np.where(known, np.nan_to_num(p).argmax(1), 0)]
    columns = (*p.T, np.abs(entropy.clip(-1, 1)), *far.T)
    numbers = [pa.array(column, pa.float32(), mask=~known) for column in columns]
    names = pa.array([name for name, _ in batch], pa.string())
    label = pa.array(labels, pa.string(), mask=~known)
    classes = p.shape[1]
    table = [names, *numbers[:classes], label, *numbers[classes:], pa.array(status, pa.string())]
    return pa.Table.from_arrays(table, schema=schema_of(classifier.about))


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
