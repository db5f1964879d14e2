"""What a worker does with a chunk of a survey, and how much memory that takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network_facts import cuts
from skythaw.bundle.backends import SLICE, open_backend
from skythaw.bundle.bundle_file import WEIGHTS, BundleDescription
from skythaw.bundle.members import weight_files
from skythaw.engines.engine import Needs
from skythaw.engines.shared_files import Shared
from skythaw.errors import DataError
from skythaw.machine.files import temporary_folder
from skythaw.machine.numerics import numerics
from skythaw.predict.object_numbers import wanted_columns
from skythaw.predict.predict_images import PredictSettings, predictions
from skythaw.predict.prediction_rows import as_bytes, schema_of
from skythaw.predict.survey.survey_chunks import Chunk, items
from skythaw.study.memory_need import memory_of_predicting
from skythaw.study.on_cluster import node_folder

_kept_open = lru_cache(maxsize=1)(open_backend)
"""the bundle stays open in a worker's process from chunk to chunk"""


@dataclass(frozen=True)
class ChunkPredictor:
    """The function that an engine maps over chunks: it gives the content of a Parquet file with their predictions."""

    bundle: Shared
    sha256: str
    """of the bundle"""
    setting: PredictSettings
    gpus: float
    """share of one that a worker takes, if it runs on a GPU"""
    memory: int
    """bytes that a worker reserves"""
    cache: str | None
    """folder of a node that may lack the bundle: see `node_folder`; None where all workers see the bundle"""

    def needs(self, _chunk: Chunk) -> Needs:
        """A core for each thread. The engine does not try again: `SurveyRun` knows better what to try."""
        gpus = self.gpus if self.setting.device.startswith("cuda") else 0.0
        return Needs(self.setting.threads or 1, gpus, self.memory, retries=0)

    def __call__(self, chunk: Chunk) -> bytes:
        folder = self.bundle.here(node_folder(self.cache)) if self.cache else self.bundle.path
        backend = _kept_open(folder, self.setting.backend, self.setting.device, sha256=self.sha256)
        about = backend.classifier.about
        with numerics(1, about.seed, self.setting.device):
            tables = list(predictions(backend, items(chunk, wanted_columns(about)), self.setting))
        if (rows := sum(map(len, tables))) != len(chunk):
            raise DataError(f"{chunk.file.shown} has changed: it gave {rows} rows, and {len(chunk)} were expected")
        return as_bytes(tables, schema_of(about, backend.name, features=self.setting.features))


def memory_for(bundle: Path, about: BundleDescription, setting: PredictSettings) -> int:
    """Bytes that a worker needs, as far as a bundle tells."""
    with temporary_folder() as cache:
        cut = cuts(backbone_of(about.cell), about.cell.pixels.size, cache)[-1]
    images = SLICE if setting.backend == "onnx" else setting.batch
    weights = sum((bundle / name).stat().st_size for name in weight_files(WEIGHTS, about.members))
    return memory_of_predicting(weights, cut, (setting.threads or 1) * images)
