"""Predict a survey into a folder of shards, one for each chunk of the inputs, with any engine.

::

    OUT/manifest.json                   what was done, with which bundle; which rows of which file each shard has
    OUT/shards/00000000.parquet ...

A worker predicts a chunk and sends back the content of a Parquet file. This process writes it, whole or not at all. So
what is done survives any kill, and the same call goes on with the chunks that have no shard yet.

Where a worker dies, its chunk is halved until the image that kills is alone. That image gets a status, and the other
images are predicted. Where workers die one after another and none answers, the images are not to blame: what is left
waits for another call.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from skythaw import registry
from skythaw.bundle.backends import onnx_agrees, open_backend, require_backend, without_onnx
from skythaw.bundle.bundle_file import BundleDescription, read_about
from skythaw.engines.engine import Engine, Outcome, open_engine
from skythaw.errors import DataError, SkythawError
from skythaw.machine.device import device_here, parse_device
from skythaw.machine.files import replacing
from skythaw.machine.processor import cores
from skythaw.machine.walk_folders import real_folder
from skythaw.predict.image_summary import PredictSummary
from skythaw.predict.object_numbers import wanted_columns
from skythaw.predict.predict_images import WANTED, PredictSettings
from skythaw.predict.prediction_files import alone
from skythaw.predict.prediction_rows import as_bytes, origin, schema_of
from skythaw.predict.survey import shard_manifest
from skythaw.predict.survey.survey_chunks import Chunk, SurveyChunks, find_chunks, name_of, require_columns
from skythaw.predict.survey.survey_worker import ChunkPredictor, memory_for
from skythaw.study.on_cluster import NODE_CACHE, Cluster

TRIES = 2
"""workers that die of a single row before the row is to blame"""
HOPELESS = 20
"""deaths without an answer between them, each of another chunk, after which halves are tried first; after twice as many
the prediction ends"""
KILLS = "the worker that reads it dies"
Told = Callable[[int, int], None]
"""Called with the rows that are done, and all rows."""


@dataclass(frozen=True)
class EngineChoice:
    """Where a survey is predicted. Nothing here changes a number."""

    engine: str = "processes"
    workers: int | None = None
    """chunks at a time; None: as many as there are cores (a cluster decides for itself)"""
    cluster: Cluster = field(default_factory=Cluster)


def predict_survey(
    bundle: Path,
    inputs: Sequence[str],
    out: Path,
    setting: PredictSettings | None = None,
    engine_choice: EngineChoice | None = None,
    told: Told | None = None,
) -> PredictSummary:
    """Write the probabilities of each class for a survey into a folder of Parquet files, one row an image.

    Parameters
    ----------
    bundle
        the classifier's folder
    inputs
        see `skythaw.predict.survey.survey_chunks.find_chunks`; every worker must be able to open them by the same names
    out
        the folder
    setting
        batch, device and backend; threads of one worker (1 by default); rows of a shard, which has whole row groups
    engine_choice
        the engine, and how it is used
    told
        called when rows are done

    Raises
    ------
    BundleError, DataError
        There is no bundle; the inputs name nothing; another process writes the same folder.
    SpecError, OutputError, RemoteError
        The folder is of another bundle or other inputs, or something can't run here; a file can't be written; there is
        no such cluster.
    """
    bundle, out, engine_choice = Path(bundle).absolute(), Path(out), engine_choice or EngineChoice()
    registry.get("engine", engine_choice.engine).warm_up()  # an unknown one is refused before anything is written
    start, about = time.perf_counter(), read_about(bundle)
    setting = _same_for_all_workers(setting or PredictSettings(), bundle, about, engine_choice)
    survey = find_chunks([str(given) for given in inputs], setting.shard, {real_folder(str(out))})
    if wants := wanted_columns(about):
        require_columns(survey, wants)
    files = {"set of files (names, sizes or times)": survey.sha256}
    binding = {"bundle": about.sha256, **files, "shard": setting.shard, "backend": setting.backend}
    binding[WANTED] = setting.features or None
    shard_manifest.require_ours(out)
    new = not out.exists()
    with alone(out):
        schema = schema_of(about, setting.backend, features=setting.features)
        run = SurveyRun(out, schema, survey, told or (lambda _done, _all: None))
        run.begin(shard_manifest.begin(out, binding))
        if run.missing:
            shard_manifest.write(out, shard_manifest.unfinished(binding))
            with _engine(engine_choice, setting, out if new else None) as engine:
                run.predict(engine, _predictor(bundle, about, setting, engine_choice.cluster, engine))
        done, undone = run.finished, run.undone
        shard_manifest.write(
            out,
            {
                "schema": shard_manifest.SCHEMA,
                "complete": not undone,
                "binding": binding,
                "origin": origin(about, setting.backend),
                "shards": shard_manifest.described(survey.chunks, done),
                "undone": undone,
                "rows": done.rows,
                "classes": done.classes,
                "failed": done.failed,
            },
        )
    return PredictSummary(
        objects=done.rows,
        failed=done.failed,
        classes=done.classes,
        inputs=done.inputs,
        without_image=done.without_image,
        undone=undone,
        backend=setting.backend,
        resumed=run.resumed,
        seconds=time.perf_counter() - start,
    )


def _same_for_all_workers(
    setting: PredictSettings, bundle: Path, about: BundleDescription, engine_choice: EngineChoice
) -> PredictSettings:
    """The settings with a device and a backend that are decided here, because workers must not choose each for itself.

    A bundle's ONNX file is taken where there is one that agrees with torch: it was faster on every CPU that was tried.
    Where onnxruntime is not installed here, the workers alone compare the two, each with the first images that it gets.
    """
    here = engine_choice.cluster.address is None
    device = str((device_here if here or setting.device == "auto" else parse_device)(setting.device))
    require_backend(setting.backend, about, device, here=here)
    backend = setting.backend
    if backend == "auto":
        backend = "torch" if without_onnx(about, device) or not onnx_agrees(bundle, about) else "onnx"
    elif backend == "onnx" and not without_onnx(about, device):
        open_backend(bundle, "onnx", "cpu", sha256=about.sha256)  # which refuses one that disagrees
    return replace(setting, device=device, backend=backend, threads=setting.threads or 1)


def _engine(engine_choice: EngineChoice, setting: PredictSettings, new: Path | None) -> Engine:
    """The engine; where it can't be opened, the `new` folder is removed again."""
    workers = engine_choice.workers
    if workers is None and engine_choice.engine == "processes":
        workers = max(1, cores() // (setting.threads or 1))
    try:
        return open_engine(engine_choice.engine, workers, engine_choice.cluster.address)
    except SkythawError:
        if new:
            shutil.rmtree(new)
        raise


def _predictor(
    bundle: Path, about: BundleDescription, setting: PredictSettings, cluster: Cluster, engine: Engine
) -> ChunkPredictor:
    """The function for the chunks, with the bundle shared."""
    memory = cluster.memory or 0
    if engine.cluster and cluster.memory is None:
        memory = memory_for(bundle, about, setting)
    cache = None if engine.local else cluster.cache or NODE_CACHE
    return ChunkPredictor(engine.share(bundle), about.sha256, setting, cluster.gpus, memory, cache)


class SurveyRun:
    """The chunks of a survey on their way to shards."""

    def __init__(self, out: Path, schema: pa.Schema, found: SurveyChunks, told: Told) -> None:
        self.out, self.schema, self.found, self.told = out, schema, found, told
        self.finished = shard_manifest.FinishedShards()
        self.resumed = 0
        """rows that were done before"""
        self.undone: dict[int, str] = {}
        self.missing: dict[int, Chunk] = {}
        """chunks that have no shard yet, by number"""
        self._parts: dict[int, dict[int, bytes]] = {}
        """shards in the making whose chunks were halved: content by first row"""
        self._answered = False
        self._deaths = 0
        """since the last answer, each of another chunk"""

    def begin(self, known: Mapping[str, str]) -> None:
        """Look which shards are there; `known` are their checksums from an earlier manifest."""
        missing = shard_manifest.missing(self.out, self.found.chunks, known, self.finished)
        self.missing = {chunk.number: chunk for chunk in missing}
        self.resumed = self.finished.rows

    def predict(self, engine: Engine, predictor: ChunkPredictor) -> None:
        """Predict the chunks that have no shard."""
        waiting, hopeless = list(self.missing.values()), HOPELESS
        self._tell()
        while waiting:
            again: list[Chunk] = []
            left = {(chunk.number, chunk.first): chunk for chunk in waiting}
            with closing(engine.map(predictor, waiting)) as outcomes:
                for outcome in outcomes:
                    chunk = left.pop((outcome.item.number, outcome.item.first))
                    again += self._take(chunk, outcome)
                    hopeless = max(hopeless, 2 * engine.workers)  # all of whom may die at once, with their nodes
                    if self._deaths >= 2 * hopeless:
                        reason = f"{self._deaths} workers died one after another; the last: {outcome.error}"
                        self.undone |= dict.fromkeys(self.missing, reason)
                        return
                    if outcome.died and not chunk.deaths and self._deaths == hopeless:
                        break  # halves first: each of these may hold an image that kills
            waiting = [*again, *left.values()]

    def _take(self, chunk: Chunk, outcome: Outcome) -> list[Chunk]:
        """Keep what became of a chunk; returns what is to be tried again."""
        if outcome.died:
            return self._after_death(chunk, outcome.error or "")
        if outcome.error:
            self.undone[chunk.number] = outcome.error.strip().splitlines()[-1]
        else:
            self._answered, self._deaths = True, 0
            self._keep(chunk, outcome.value)
        return []

    def _after_death(self, chunk: Chunk, reason: str) -> list[Chunk]:
        """What is to be tried now: the halves, the same, or nothing, where a single row is to blame."""
        self._deaths += chunk.deaths == 0
        if len(chunk) > 1:
            return list(chunk.halves())
        if chunk.deaths + 1 < TRIES:
            return [replace(chunk, deaths=chunk.deaths + 1)]
        try:
            name = name_of(chunk)
        except DataError as error:
            self.undone[chunk.number] = str(error)
        else:
            if self._answered:
                row = pa.Table.from_pylist([{"object_id": name, "status": KILLS}], self.schema)
                self._keep(chunk, as_bytes([row], self.schema))
            else:
                self.undone[chunk.number] = reason
        return []

    def _keep(self, chunk: Chunk, data: bytes) -> None:
        """Write a shard, or wait for its other parts."""
        whole, parts = self.missing[chunk.number], self._parts.setdefault(chunk.number, {})
        parts[chunk.first] = data
        if len(chunk) < len(whole):
            tables = [pq.read_table(pa.BufferReader(parts[first])) for first in sorted(parts)]
            if sum(map(len, tables)) < len(whole):
                return
            data = as_bytes(tables, self.schema)
        with replacing(shard_manifest.shard_path(self.out, chunk.number)) as file:
            file.write(data)
        self.finished.add(chunk.number, shard_manifest.Shard.of(data))
        del self._parts[chunk.number], self.missing[chunk.number]
        self._tell()

    def _tell(self) -> None:
        self.told(self.finished.rows, self.found.rows)
