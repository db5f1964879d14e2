"""Arrays of pixels that are to be predicted, in a Parquet file: a row for each image, also for one that is broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from skythaw import registry
from skythaw.data.parquet import parquet_writer, reading
from skythaw.data.sources.read_images import ImageOptions
from skythaw.data.sources.set_choices import SetChoices
from skythaw.errors import DataError
from skythaw.machine.files import replacing
from skythaw.predict.image_contents import LONG_NAME, UNPACKED

ROWS = 64
"""rows that are written at once"""
ADDED = ("reason", LONG_NAME)


def array_rows(
    kind: str, path: Path, target: Path, images: ImageOptions | None
) -> tuple[Mapping[str, str], Mapping[str, int]]:
    """Write a Parquet file with a row for every image of a file of arrays: the image, or why there is none.

    Broken images stand where they stood, or at the end where the file has ids of its own.

    Parameters
    ----------
    kind
        the source, by its name in the registry
    path
        the file of arrays
    target
        the file to make
    images
        options for files of images, which arrays refuse

    Returns
    -------
    passed_over, changed
        arrays that are not read, and why; what was done, in words, and to how many

    Raises
    ------
    DataError
        It can't be read, or holds no images.
    """
    options = {} if images is None else {"images": images}
    good = target.with_name(f"{target.name}.good")
    try:
        said = registry.get("source", kind)(
            path, good, skip_broken=True, choices=SetChoices(unlabelled=True), **options
        )
        with reading(good), pq.ParquetFile(good) as file:
            kept = [field for field in file.schema_arrow if field.name not in ADDED]
            schema = pa.schema([*kept, *((name, pa.string()) for name in ADDED)], {UNPACKED: b"1"})
            with replacing(target) as out, parquet_writer(out, schema, target) as write:
                for table in _tables(file, schema, path, dict(said.broken)):
                    write(table)
    except DataError as error:
        if str(good) not in str(error):
            raise
        raise DataError(
            f"{path}: not one of its images can be used; skythaw data import {path} OUT.parquet says why"
        ) from None
    finally:
        good.unlink(missing_ok=True)
    return {name: why for name, why in said.left_out.items() if name not in said.broken}, said.changed


def _tables(file: pq.ParquetFile, schema: pa.Schema, path: Path, broken: dict[str, str]) -> Iterator[pa.Table]:
    """The images in pieces, with rows for those that are broken; empties `broken`."""
    place = 0

    def lost(names: list[str]) -> pa.Table:
        rows = [{"object_id": name, "reason": broken.pop(name), LONG_NAME: f"{path.name}:{name}"} for name in names]
        return pa.Table.from_pylist(rows, schema)

    for batch in file.iter_batches(ROWS, columns=[name for name in schema.names if name not in ADDED]):
        whole, pieces, start = pa.table(batch), list[pa.Table](), 0
        names = whole["object_id"].to_pylist()
        whole = whole.append_column(ADDED[0], pa.nulls(len(whole), pa.string()))
        whole = whole.append_column(ADDED[1], pa.array([f"{path.name}:{name}" for name in names], pa.string()))
        whole = whole.select(schema.names).cast(schema)
        for row in range(len(whole)):
            missing = []
            while (name := f"{path.stem}-{place:06d}") in broken:
                missing.append(name)
                place += 1
            if missing:
                pieces += [whole[start:row], lost(missing)]
                start = row
            place += 1
        yield pa.concat_tables([*pieces, whole[start:]])
    if broken:
        yield lost(list(broken))
