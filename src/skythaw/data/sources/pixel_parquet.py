"""Cutouts from Parquet files whose images are arrays of pixels, as those of the Multimodal Universe are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skythaw.data.parquet import reading
from skythaw.data.parquet_images import refuse_packed, refuse_packed_texts
from skythaw.data.sources.array_images import PixelStack, import_stack
from skythaw.data.sources.folder import ImportResult, Progress
from skythaw.data.sources.hdf5_arrays import refuse_options
from skythaw.data.sources.set_choices import SetChoices
from skythaw.data.sources.user_tables import plain
from skythaw.errors import DataError

ROWS = 16


def import_pixel_parquet(
    path: Path,
    out: Path,
    labels: Any = None,
    *,
    skip_broken: bool = False,
    choices: SetChoices = SetChoices(),  # noqa: B008 - frozen
    progress: Progress | None = None,
    **options: Any,
) -> ImportResult:
    """Write the images of a Parquet file with `image.flux` [band, y, x] as cutouts; other plain columns are kept.

    Raises
    ------
    DataError
        It is damaged, or has no such images.
    """
    path = Path(path)
    refuse_options(path, labels, choices, options)
    with reading(path), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        if "image" not in schema.names or "flux" not in str(schema.field("image").type):
            shown = ", ".join(schema.names[:20])
            raise DataError(f"{path} has no images: no column image with bytes or flux; it has {shown}")
        kept = [one.name for one in schema if plain(one.type) is not None]
        refuse_packed_texts(path, file, kept)
        table = file.read(columns=kept)
        first = next(_images(file), None)
        if first is None:
            raise DataError(f"{path} has no rows")
        stack = PixelStack(
            path,
            file.metadata.num_rows,
            (pixels for pixels, _ in _images(file)),
            {name: table[name].to_pylist() for name in kept},
            bands=first[1],
            bottom_up=True,
        )
        return import_stack(stack, out, skip_broken=skip_broken, choices=choices, progress=progress)


def _images(file: pq.ParquetFile) -> Iterator[tuple[np.ndarray, list[str] | None]]:
    """Pixels [band, y, x] and the names of the bands of each row."""
    for group in range(file.num_row_groups):
        refuse_packed(file, group, "image")
        for batch in file.iter_batches(ROWS, row_groups=[group], columns=["image"]):
            for value in batch.column("image"):
                yield _pixels(value)


def _pixels(value: pa.Scalar) -> tuple[np.ndarray, list[str] | None]:
    image = value.as_py() or {}
    if isinstance(image, list):  # one struct for each band
        bands = [str(each["band"]) for each in image] if image and "band" in image[0] else None
        flux = [each["flux"] for each in image]
    else:
        found = image.get("band")
        bands = [str(each) for each in found] if isinstance(found, list) else None
        flux = image.get("flux") or []
    try:
        return np.array(flux, np.float32), bands
    except (ValueError, TypeError):
        return np.zeros(0, np.float32), bands  # rows of several lengths: no image
