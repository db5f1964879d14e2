"""Predictions of a survey: a folder of shards, one for each piece of the inputs, by any engine.

::

    OUT/manifest.json                   what was done, with which bundle; which rows of which file each shard has
    OUT/shards/00000000.parquet ...

A worker predicts a piece and sends its rows back as a Parquet file's bytes, which are written here, whole or not at
all. So what is done survives any kill, and the same call goes on with the pieces that lack a shard. A piece whose
worker dies is tried again, then halved until the image that kills is alone: it gets a status, the others go on.
"""

from __future__ import annotations

import importlib.util
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from skythaw import registry
from skythaw.data.files import replacing
from skythaw.data.parquet import parquet_writer
from skythaw.engines.base import Engine, Needs, open_engine
from skythaw.engines.shared import Shared
from skythaw.serving import manifest
from skythaw.serving.backends import Backend, open_backend
from skythaw.serving.bundle import ONNX, About, read_about
from skythaw.serving.classifier import Classifier, load
from skythaw.serving.pieces import Piece, Pieces, find_pieces, items, name_of
from skythaw.serving.predict import Setting, predictions
from skythaw.serving.rows import origin, schema_of
from skythaw.serving.tables import alone
from skythaw.study.machine import find_device, numerics
from skythaw.study.remote import NODE_CACHE, Cluster, node_folder

TRIES = 2
"""workers that may die of a piece before it is halved, or of one row before that is given up; of a half one may"""
KILLS = "the worker that reads it dies"
Told = Callable[[int, int], None]
"""Called with the rows that are done, and all rows."""


@dataclass(frozen=True)
class Spread:
    """Where a survey is predicted; nothing of it changes a number."""

    engine: str = "processes"
    workers: int | None = None
    """pieces at a time"""
    cluster: Cluster = field(default_factory=Cluster)


@dataclass(frozen=True)
class Summary:
    """What became of a survey."""

    objects: int
    """with a row"""
    classes: dict[str, int]
    failed: dict[str, int]
    """how many got no probabilities, by reason"""
    undone: dict[int, str]
    """why there is no shard, by its number: the same call tries again"""
    resumed: int
    """how many were done before"""
    seconds: float
    backend: str
    """what the network ran on"""

    @property
    def rate(self) -> float:
        """Images a second, of those done now, all beside the network included."""
        return (self.objects - self.resumed) / self.seconds


@dataclass(frozen=True)
class Work:
    """Predicts a piece: what an engine maps. Gives a Parquet file's bytes."""

    bundle: Shared
    sha256: str
    """of the bundle"""
    setting: Setting
    cluster: Cluster

    def needs(self, _piece: Piece) -> Needs:
        """A core for each thread, and no second try: `Survey` knows better what to try again."""
        gpus = self.cluster.gpus if self.setting.device.startswith("cuda") else 0.0
        return Needs(self.setting.threads, gpus, self.cluster.memory or 0, retries=0)

    def __call__(self, piece: Piece) -> bytes:
        folder = self.bundle.here(node_folder(self.cluster.cache or NODE_CACHE))
        classifier, backend = _opened(folder, self.sha256, self.setting.device, self.setting.backend)
        with numerics(1, classifier.about.seed, self.setting.device):
            tables = list(predictions(classifier, items(piece), self.setting, backend))
        return as_bytes(tables, schema_of(classifier.about, backend.name))


def predict_survey(
    bundle: Path,
    inputs: Sequence[str],
    out: Path,
    setting: Setting | None = None,
    spread: Spread | None = None,
    told: Told | None = None,
) -> Summary:
    """Write the probabilities of each class for a survey into a folder of Parquet files, one row an image.

    Parameters
    ----------
    bundle
        the classifier's folder
    inputs
        see `skythaw.serving.pieces.find_pieces`; every worker must be able to open them by the same names
    out
        the folder
    setting
        batch and device; threads of one worker; rows of a shard, which has whole row groups
    spread
        the engine, and how it is used
    told
        called when rows are done

    Raises
    ------
    BundleError, DataError
        No bundle; inputs that name nothing; another process writes the same folder.
    SpecError, OutputError
        The folder is of another bundle or other inputs; a file can't be written.
    """
    bundle, out, setting, spread = Path(bundle).absolute(), Path(out), setting or Setting(), spread or Spread()
    registry.get("engine", spread.engine)  # refused before anything is written
    start, about = time.perf_counter(), read_about(bundle)
    setting = _settled(setting, about)
    found = find_pieces([str(each) for each in inputs], setting.shard)
    files = {"set of files (names, sizes or times)": found.sha256}
    binding = {"bundle": about.sha256, **files, "shard": setting.shard, "backend": setting.backend}
    with alone(out):
        manifest.begin(out, binding)
        survey = Survey(out, schema_of(about, setting.backend), found, told or (lambda _done, _all: None))
        if survey.lacking:
            with open_engine(spread.engine, spread.workers, spread.cluster.address) as engine:
                survey.run(engine, Work(engine.share(bundle), about.sha256, setting, spread.cluster))
        counted = manifest.Counted()
        content = {
            "schema": manifest.SCHEMA,
            "complete": not survey.undone,
            "binding": binding,
            "origin": origin(about, setting.backend),
            "shards": manifest.described(out, found.pieces, counted),
            "undone": survey.undone,
        }
        content |= {"rows": counted.rows, "classes": counted.classes, "failed": counted.failed}
        manifest.write(out, content)
    seconds = time.perf_counter() - start
    return Summary(
        counted.rows,
        dict(counted.classes),
        dict(counted.failed),
        survey.undone,
        survey.resumed,
        seconds,
        setting.backend,
    )


class Survey:
    """Pieces on their way to being shards."""

    def __init__(self, out: Path, schema: pa.Schema, found: Pieces, told: Told) -> None:
        self.out, self.schema, self.told = out, schema, told
        self.lacking = manifest.lacking(out, found.pieces)
        self.resumed = found.rows - sum(map(len, self.lacking))
        self.undone: dict[int, str] = {}
        self._rows, self._done = found.rows, self.resumed
        self._whole = {piece.number: piece for piece in self.lacking}
        self._parts: dict[int, dict[int, bytes]] = {}
        """shards in the making whose pieces were halved: bytes by first row"""

    def run(self, engine: Engine, work: Work) -> None:
        """Predict what is lacking."""
        waiting = self.lacking
        self.told(self._done, self._rows)
        while waiting:
            again: list[Piece] = []
            for outcome in engine.map(work, waiting):
                piece: Piece = outcome.item
                if outcome.died:
                    again += self._after_death(piece)
                elif outcome.error:
                    self.undone[piece.number] = outcome.error.strip().splitlines()[-1]
                else:
                    self._keep(piece, outcome.value)
            waiting = again

    def _after_death(self, piece: Piece) -> list[Piece]:
        """What is to be tried now: the same, its halves, or nothing, where a single row is to blame."""
        if piece.deaths + 1 < TRIES:
            return [replace(piece, deaths=piece.deaths + 1)]
        if len(piece) > 1:
            return [half if len(half) > 1 else replace(half, deaths=0) for half in piece.halves()]
        row = pa.Table.from_pylist([{"object_id": name_of(piece), "status": KILLS}], self.schema)
        self._keep(piece, as_bytes([row], self.schema))
        return []

    def _keep(self, piece: Piece, data: bytes) -> None:
        """Write a shard, or wait for the other parts of it."""
        whole, parts = self._whole[piece.number], self._parts.setdefault(piece.number, {})
        parts[piece.first] = data
        tables = [pq.read_table(pa.BufferReader(parts[first])) for first in sorted(parts)] if len(parts) > 1 else []
        if len(piece) == len(whole) or sum(map(len, tables)) == len(whole):
            with replacing(manifest.shard_path(self.out, piece.number)) as file:
                file.write(as_bytes(tables, self.schema) if tables else data)
            del self._parts[piece.number]
        self._done += len(piece)
        self.told(self._done, self._rows)


def as_bytes(tables: Sequence[pa.Table], schema: pa.Schema) -> bytes:
    """Tables as one Parquet file."""
    file = io.BytesIO()
    with parquet_writer(file, schema, Path("a shard")) as write:
        write(pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table())
    return file.getvalue()


@lru_cache(maxsize=1)
def _opened(folder: Path, _sha256: str, device: str, backend: str) -> tuple[Classifier, Backend]:
    """A bundle's classifier and what it runs on, which the worker's process keeps from piece to piece."""
    classifier = load(folder, device=device)
    return classifier, open_backend(backend, classifier, folder)


def _settled(setting: Setting, about: About) -> Setting:
    """The setting for all workers: they must not choose a device or a backend each for itself.

    A bundle's ONNX file is taken where there is one: faster on every CPU that was tried.
    """
    device = find_device("auto").type if setting.device == "auto" else setting.device
    if setting.backend != "auto":
        return replace(setting, device=device)
    onnx = device == "cpu" and ONNX in about.files and importlib.util.find_spec("onnxruntime") is not None
    return replace(setting, device=device, backend="onnx" if onnx else "torch")
