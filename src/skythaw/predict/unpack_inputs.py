"""Archives and arrays that are to be predicted: each is first put into a Parquet file beside the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from skythaw import registry
from skythaw.data.parquet import reading
from skythaw.data.parquet_images import image_column
from skythaw.data.sources.set_choices import SetChoices
from skythaw.data.sources.source_formats import source_of
from skythaw.errors import DataError

PACKED = ("hdf5", "numpy", "pixel_parquet", "zip", "webdataset")
"""sources that are one file of many images"""


@dataclass(frozen=True)
class ReadableInputs:
    """Inputs as `skythaw.predict.find_inputs.find_inputs` takes them."""

    paths: list[str | Path]
    passed_over: dict[str, str] = field(default_factory=dict)
    """what of an archive or array is not predicted -> why"""


@contextmanager
def unpacked(given: Sequence[str | Path], out: Path) -> Iterator[ReadableInputs]:
    """Put what is packed into Parquet files beside the result; they vanish when the block ends well.

    If it does not, they stay, so that the same call goes on with the same files.

    Raises
    ------
    DataError
        An archive or array can't be read, or holds no images.
    """
    made: list[Path] = []
    found = ReadableInputs([])
    for number, path in enumerate(map(Path, given)):
        kind = _packed(path)
        if kind is None:
            found.paths.append(given[number])
            continue
        target = out.with_name(f".{out.name}.{number}-{path.stem}.parquet")
        if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
            said = registry.get("source", kind)(path, target, skip_broken=True, choices=SetChoices(unlabelled=True))
            found.passed_over.update({f"{path.name}:{name}": why for name, why in said.left_out.items()})
        made.append(target)
        found.paths.append(target)
    yield found
    for each in made:
        each.unlink(missing_ok=True)


def _packed(path: Path) -> str | None:
    """The source of a file of many images; None of a folder, an image, a table or a file of cutouts."""
    if not path.is_file():
        return None
    try:
        kind = source_of(path)
    except DataError:  # a file of another kind: it is told when it is read
        return None
    if kind == "pixel_parquet":
        with reading(path):
            schema = pq.read_schema(path)
        return None if image_column(schema) is not None or "image" not in schema.names else kind
    return kind if kind in PACKED else None
