"""Small synthetic cutouts for tests."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from skythaw.data.cutouts import Cutouts, read_cutouts, write_cutouts

FIELD = [("run", pa.int32()), ("camcol", pa.int8()), ("field", pa.int32())]
SKY = [("ra", pa.float64()), ("dec", pa.float64())]
CLASSES = ("GALAXY", "QSO", "STAR")


def picture(number: int, size: int = 16) -> np.ndarray:
    """uint8 [y, x, band], different for each number, nothing symmetrical about it."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def encode(pixels: np.ndarray | Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rows(count: int, size: int = 16) -> list[dict[str, Any]]:
    """Objects of three classes in turn, twelve to a field."""
    return [
        {
            "object_id": f"obj{number:05d}",
            "label": CLASSES[number % 3],
            "image": encode(picture(number, size)),
            "run": 752,
            "camcol": 1 + number // 12 % 6,
            "field": number // 12,
        }
        for number in range(count)
    ]


def make(path: Path, count: int = 36, size: int = 16, **changes: dict[int, Any]) -> Cutouts:
    """Write and open cutouts; `changes` gives, for a column, new values by row."""
    table = rows(count, size)
    for name, values in changes.items():
        for row, value in values.items():
            table[row][name] = value
    write_cutouts(path, table, FIELD, {"source": "test"})
    return read_cutouts(path)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Stands for a full disk: this process can write no more bytes to a file. (Python ignores the signal.)"""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def labelled(labels: list[str | None], **columns: list[Any]) -> Cutouts:
    """Cutouts without files, for what only looks at the table."""
    table = pa.table(
        {"object_id": [f"o{n}" for n in range(len(labels))], "label": pa.array(labels, pa.string()), **columns}
    )
    return Cutouts((Path("none.parquet"),), table, {})
