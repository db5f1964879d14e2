"""Predictions of a survey: a folder of shards, one for each piece of the inputs, by any engine.

::

    OUT/manifest.json                   what was done, with which bundle; which rows of which file each shard has
    OUT/shards/00000000.parquet ...

A worker predicts a piece and sends its rows back as a Parquet file's bytes, which are written here, whole or not at
all. So what is done survives any kill, and the same call goes on with the pieces that lack a shard. A piece whose
worker dies is halved until the image that kills is alone: it gets a status, the others go on. Where workers die one
after another and none answers, no image is to blame: what is left is left for another call.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from skythaw import registry
from skythaw.bundle.backends import require_onnx
from skythaw.bundle.bundle_file import ONNX, About, read_about
from skythaw.engines.engine import Engine, Outcome, open_engine
from skythaw.errors import DataError, SkythawError
from skythaw.machine.device import find_device, parse_device
from skythaw.machine.files import replacing
from skythaw.predict.image_contents import real_folder
from skythaw.predict.predict_images import PredictSettings
from skythaw.predict.prediction_files import alone
from skythaw.predict.prediction_rows import as_bytes, origin, schema_of
from skythaw.predict.survey import shard_manifest
from skythaw.predict.survey.survey_pieces import Piece, SurveyPieces, find_pieces, name_of
from skythaw.predict.survey.survey_worker import Work, memory_for
from skythaw.study.on_cluster import NODE_CACHE, Cluster

TRIES = 2
"""workers that die of one row alone before it is to blame"""
HOPELESS = 20
"""workers that die, of other pieces each, without an answer, before halves are tried first; of twice as many it ends"""
KILLS = "the worker that reads it dies"
Told = Callable[[int, int], None]
"""Called with the rows that are done, and all rows."""


@dataclass(frozen=True)
class SurveyEngine:
    """Where a survey is predicted; nothing of it changes a number."""

    engine: str = "processes"
    workers: int | None = None
    """pieces at a time"""
    cluster: Cluster = field(default_factory=Cluster)


@dataclass(frozen=True)
class SurveySummary:
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


def predict_survey(
    bundle: Path,
    inputs: Sequence[str],
    out: Path,
    setting: PredictSettings | None = None,
    spread: SurveyEngine | None = None,
    told: Told | None = None,
) -> SurveySummary:
    """Write the probabilities of each class for a survey into a folder of Parquet files, one row an image.

    Parameters
    ----------
    bundle
        the classifier's folder
    inputs
        see `skythaw.predict.survey.survey_pieces.find_pieces`; every worker must be able to open them by the same names
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
    SpecError, OutputError, RemoteError
        The folder is of another bundle or other inputs, or something can't run here; a file can't be written; there is
        no such cluster.
    """
    bundle, out, setting, spread = (
        Path(bundle).absolute(),
        Path(out),
        setting or PredictSettings(),
        spread or SurveyEngine(),
    )
    registry.get("engine", spread.engine).warm_up()  # an unknown one is refused before anything is written
    start, about = time.perf_counter(), read_about(bundle)
    setting = _settled(setting, about, spread)
    found = find_pieces([str(each) for each in inputs], setting.shard, {real_folder(str(out))})
    files = {"set of files (names, sizes or times)": found.sha256}
    binding = {"bundle": about.sha256, **files, "shard": setting.shard, "backend": setting.backend}
    shard_manifest.require_ours(out)
    new = not out.exists()
    with alone(out):
        survey = Survey(out, schema_of(about, setting.backend), found, told or (lambda _done, _all: None))
        survey.begin(shard_manifest.begin(out, binding))
        if survey.lacking:
            shard_manifest.write(out, shard_manifest.unfinished(binding))
            with _engine(spread, out if new else None) as engine:
                cluster, cache = spread.cluster, None if engine.local else spread.cluster.cache or NODE_CACHE
                memory = cluster.memory or 0
                if engine.cluster and cluster.memory is None:
                    memory = memory_for(bundle, about, setting)
                survey.run(engine, Work(engine.share(bundle), about.sha256, setting, cluster.gpus, memory, cache))
        done = survey.done
        content = {
            "schema": shard_manifest.SCHEMA,
            "complete": not survey.undone,
            "binding": binding,
            "origin": origin(about, setting.backend),
            "shards": shard_manifest.described(found.pieces, done),
            "undone": survey.undone,
        }
        shard_manifest.write(out, content | {"rows": done.rows, "classes": done.classes, "failed": done.failed})
    seconds, counted = time.perf_counter() - start, (dict(done.classes), dict(done.failed))
    return SurveySummary(done.rows, *counted, survey.undone, survey.resumed, seconds, setting.backend)


def _engine(spread: SurveyEngine, new: Path | None) -> Engine:
    """The engine; where there is none, what is `new` goes."""
    try:
        return open_engine(spread.engine, spread.workers, spread.cluster.address)
    except SkythawError:
        if new:
            shutil.rmtree(new)
        raise


class Survey:
    """SurveyPieces on their way to being shards."""

    def __init__(self, out: Path, schema: pa.Schema, found: SurveyPieces, told: Told) -> None:
        self.out, self.schema, self.found, self.told = out, schema, found, told
        self.done = shard_manifest.Done()
        self.lacking: list[Piece] = []
        self.resumed = 0
        self.undone: dict[int, str] = {}
        self._answered = False
        self._deaths = 0
        """since the last answer, of one piece each"""
        self._whole: dict[int, Piece] = {}
        """that have no shard yet"""
        self._parts: dict[int, dict[int, bytes]] = {}
        """shards in the making whose pieces were halved: bytes by first row"""

    def begin(self, known: Mapping[str, str]) -> None:
        """Look at what is there; `known` are checksums from an earlier manifest."""
        self.lacking = shard_manifest.lacking(self.out, self.found.pieces, known, self.done)
        self.resumed = self.done.rows
        self._whole = {piece.number: piece for piece in self.lacking}

    def run(self, engine: Engine, work: Work) -> None:
        """Predict what is lacking."""
        waiting, hopeless = self.lacking, HOPELESS
        self._tell()
        while waiting:
            again: list[Piece] = []
            left = {(piece.number, piece.first): piece for piece in waiting}
            with closing(engine.map(work, waiting)) as outcomes:
                for outcome in outcomes:
                    piece = left.pop((outcome.item.number, outcome.item.first))
                    again += self._take(piece, outcome)
                    hopeless = max(hopeless, 2 * engine.workers)  # all of whom may die at once, with their nodes
                    if self._deaths >= 2 * hopeless:
                        reason = f"{self._deaths} workers died one after another; the last: {outcome.error}"
                        self.undone |= dict.fromkeys(self._whole, reason)
                        return
                    if outcome.died and not piece.deaths and self._deaths == hopeless:
                        break  # halves first: each of these may hold an image that kills
            waiting = [*again, *left.values()]

    def _take(self, piece: Piece, outcome: Outcome) -> list[Piece]:
        """Keep what became of a piece; what is to be tried again."""
        if outcome.died:
            return self._after_death(piece, outcome.error or "")
        if outcome.error:
            self.undone[piece.number] = outcome.error.strip().splitlines()[-1]
        else:
            self._answered, self._deaths = True, 0
            self._keep(piece, outcome.value)
        return []

    def _after_death(self, piece: Piece, reason: str) -> list[Piece]:
        """What is to be tried now: its halves, the same, or nothing, where a single row is to blame."""
        self._deaths += piece.deaths == 0
        if len(piece) > 1:
            return list(piece.halves())
        if piece.deaths + 1 < TRIES:
            return [replace(piece, deaths=piece.deaths + 1)]
        try:
            name = name_of(piece)
        except DataError as error:
            self.undone[piece.number] = str(error)
        else:
            if self._answered:
                row = pa.Table.from_pylist([{"object_id": name, "status": KILLS}], self.schema)
                self._keep(piece, as_bytes([row], self.schema))
            else:
                self.undone[piece.number] = reason
        return []

    def _keep(self, piece: Piece, data: bytes) -> None:
        """Write a shard, or wait for the other parts of it."""
        whole, parts = self._whole[piece.number], self._parts.setdefault(piece.number, {})
        parts[piece.first] = data
        if len(piece) < len(whole):
            tables = [pq.read_table(pa.BufferReader(parts[first])) for first in sorted(parts)]
            if sum(map(len, tables)) < len(whole):
                return
            data = as_bytes(tables, self.schema)
        with replacing(shard_manifest.shard_path(self.out, piece.number)) as file:
            file.write(data)
        self.done.add(piece.number, shard_manifest.Shard.of(data))
        del self._parts[piece.number], self._whole[piece.number]
        self._tell()

    def _tell(self) -> None:
        self.told(self.done.rows, self.found.rows)


def _settled(setting: PredictSettings, about: About, spread: SurveyEngine) -> PredictSettings:
    """The setting for all workers: they must not choose a device or a backend each for itself.

    A bundle's ONNX file is taken where there is one: faster on every CPU that was tried.
    """
    here = spread.cluster.address is None
    local = here or setting.device == "auto"
    device = str((find_device if local else parse_device)(setting.device))
    if setting.backend != "auto":
        if setting.backend == "onnx":
            require_onnx(about, device, here=here)
        return replace(setting, device=device)
    onnx = device == "cpu" and ONNX in about.files and importlib.util.find_spec("onnxruntime") is not None
    return replace(setting, device=device, backend="onnx" if onnx else "torch")
