"""Surveys in chunks, and work that kills its worker: importable from other processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pyarrow.parquet as pq

from skythaw.engines.engine import Outcome, attempt
from skythaw.engines.serial import Serial
from skythaw.predict.survey.survey_chunks import items
from skythaw.predict.survey.survey_worker import ChunkPredictor

POISON = "1237000037"


def frail_kind(deadly):
    """A kind of engine that works here, one item after the other. An item dies if its names say so."""

    class Frail(Serial):
        deaths = 0

        def map(self, function, items_):
            for piece in items_:
                if deadly([name for name, _ in items(piece)]):
                    Frail.deaths += 1
                    yield Outcome(piece, error="the worker process died: killed by SIGKILL (out of memory?)", died=True)
                else:
                    yield attempt(function, piece)

    return Frail


def deadly_kind(kind):
    """A kind of engine whose workers die of one image."""

    class DeadlyEngine(kind):
        def map(self, function, items_):
            return super().map(DeadlyPredictor(**vars(function)), items_)

    return DeadlyEngine


class DeadlyPredictor(ChunkPredictor):
    """Dies of one image."""

    def __call__(self, chunk):
        if any(name == POISON for name, _ in items(chunk)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(chunk)


def split(survey: Path, folder: Path, files=3, group=20) -> Path:
    """The rows of a file in several, of small row groups."""
    table = pq.read_table(survey)
    folder.mkdir()
    size = -(-len(table) // files)
    for number in range(files):
        pq.write_table(table.slice(number * size, size), folder / f"night{number}.parquet", row_group_size=group)
    return folder


def hats(survey: Path, folder: Path) -> Path:
    """The same as a HATS catalogue: partitions, metadata, and a file that repeats some rows."""
    table = pq.read_table(survey)
    for pixel in range(3):
        place = folder / "dataset" / "Norder=0" / "Dir=0" / f"Npix={pixel}.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.slice(pixel * 60, 60), place)
    pq.write_table(table.slice(0, 5), folder / "dataset" / "data_thumbnail.parquet")
    pq.write_metadata(table.schema, folder / "dataset" / "_common_metadata")
    (folder / "hats.properties").write_text("dataproduct_type=object\n")
    return folder


def rows(out: Path):
    """All rows of a prediction in shards, in order."""
    return pq.ParquetDataset(sorted((out / "shards").glob("*.parquet"))).read()


class ConstantPredictor(ChunkPredictor):
    """Reads every image, and gives all the same answer: for a survey's memory without the time of a network."""

    def __call__(self, chunk):
        import pyarrow as pa

        from skythaw.bundle.bundle_file import read_about
        from skythaw.predict.prediction_rows import as_bytes, schema_of

        schema = schema_of(read_about(self.bundle.path), "torch")
        tables = []
        for name, content in items(chunk):
            content.read()
            tables.append({"object_id": name, "label": schema.names[1].removeprefix("p_"), "status": "ok"})
        return as_bytes([pa.Table.from_pylist(tables, schema)], schema)
