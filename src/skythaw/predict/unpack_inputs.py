"""Archives and arrays that are to be predicted, and images that are read as an import was told to.

All of them are first put into Parquet files beside the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from skythaw.data.parquet import reading
from skythaw.data.parquet_images import image_column
from skythaw.data.sources.packed_folder import beside
from skythaw.data.sources.read_images import ImageOptions
from skythaw.data.sources.source_formats import source_of
from skythaw.errors import DataError, SkythawError
from skythaw.machine.walk_folders import walk
from skythaw.predict.array_rows import array_rows
from skythaw.predict.find_inputs import find_inputs
from skythaw.predict.image_contents import PARQUET
from skythaw.predict.read_as_imported import read_as_imported
from skythaw.predict.unpack_archives import ARCHIVES, unpack

PACKED = ("hdf5", "numpy", "pixel_parquet", *ARCHIVES)
"""sources that are one file of many images"""


@dataclass(frozen=True)
class ReadableInputs:
    """Inputs as `skythaw.predict.find_inputs.find_inputs` takes them."""

    paths: list[str | Path]
    passed_over: dict[str, str] = field(default_factory=dict)
    """what of an archive or array is not predicted -> why"""
    changed: dict[str, int] = field(default_factory=dict)
    """what was done to images as was asked, in words -> to how many"""


@contextmanager
def unpacked(given: Sequence[str | Path], out: Path, images: ImageOptions | None = None) -> Iterator[ReadableInputs]:
    """Put what is packed into Parquet files beside the result; they vanish when the block ends well.

    If it does not, and a prediction has begun or was stopped, they stay, so that the same call goes on with the same
    files. What is refused leaves none.

    Parameters
    ----------
    given
        files, folders and patterns
    out
        the result
    images
        how images are read that are not in Parquet files; None: as they are

    Raises
    ------
    DataError
        An archive or array can't be read, or holds no images.
    """
    found, made = ReadableInputs([]), list[Path]()
    try:
        _unpack_all(given, out, images, found, made)
        yield found
    except SkythawError:
        if not out.with_name(f"{out.name}.part").exists():
            _remove(made)
        raise
    _remove(made)


def _unpack_all(
    given: Sequence[str | Path], out: Path, images: ImageOptions | None, found: ReadableInputs, made: list[Path]
) -> None:
    """Put what is packed into Parquet files; adds all inputs to `found`, and the files to `made`."""
    loose: list[str | Path] = []
    for number, path in enumerate(map(Path, given)):
        kind = _packed(path)
        if kind is not None:
            target = out.with_name(f".{out.name}.{_state_of(path, images)}.parquet")
            made.append(target)
            found.paths.append(target)
            if not target.exists():
                _unpack(kind, path, target, images, found)
        elif images is None or path.name.lower().endswith(PARQUET):
            found.paths.append(given[number])
        else:
            loose.append(given[number])
    if images is not None and loose:
        inputs = find_inputs(loose, (out, *made))
        asked = hashlib.sha256(f"{images.recipe} {inputs.sha256}".encode()).hexdigest()[:12]
        target = out.with_name(f".{out.name}.{asked}.parquet")
        made.append(target)
        found.paths.append(target)
        passed_over, changed = read_as_imported(inputs, target, images)
        found.passed_over.update(passed_over)
        found.changed.update(changed)


def _remove(files: Sequence[Path]) -> None:
    for each in files:
        each.unlink(missing_ok=True)


def _state_of(path: Path, images: ImageOptions | None) -> str:
    """A name for a file, or a folder of files, as it is now, and for how its images are read."""
    files = (
        sorted(Path(here) / name for here, names, _ in walk(str(path)) for name in names) if path.is_dir() else [path]
    )
    now = [(str(each.absolute()), each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    return hashlib.sha256(repr((now, images and images.recipe)).encode()).hexdigest()[:12]


def _unpack(kind: str, path: Path, target: Path, images: ImageOptions | None, found: ReadableInputs) -> None:
    """Put one archive or array into a Parquet file; adds to `found` what was left out and changed."""
    if kind in ARCHIVES:
        with beside(target, path) as folder:
            top = folder / "images"
            top.mkdir()
            passed = unpack(kind, path, top)
            start = f"{top.as_posix()}/"
            others, changed = read_as_imported(
                find_inputs([top]), target, images, lambda text: text.replace(start, f"{path.name}:"), start
            )
        found.passed_over.update({f"{path.name}:{name}": why for name, why in passed.items()} | dict(others))
    else:
        others, changed = array_rows(kind, path, target, images)
        found.passed_over.update({f"{path.name}:{name}": why for name, why in others.items()})
    for what, count in changed.items():
        found.changed[what] = found.changed.get(what, 0) + count


def _packed(path: Path) -> str | None:
    """The source of a file of many images, or of a folder of archives; None of all else."""
    if not path.exists():
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
