"""Images that are to be predicted, put into a Parquet file: as they are, or read as an import was told to."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from skythaw.data.decode import BrokenImageError, decode
from skythaw.data.parquet import IMAGE, parquet_writer
from skythaw.data.sources.band_files import join_bands
from skythaw.data.sources.image_files import plain_stem
from skythaw.data.sources.read_images import ImageOptions, ImageReader
from skythaw.machine.files import plain_name, replacing
from skythaw.predict.find_inputs import Inputs
from skythaw.predict.image_contents import LONG_NAME, UNPACKED, Content

ROWS = 64
"""rows that are written at once"""
SCHEMA = pa.schema(
    [
        ("object_id", pa.string()),
        ("image", IMAGE),
        *((name, pa.string()) for name in ("sha256", "reason", LONG_NAME)),
    ],
    {UNPACKED: b"1"},
)


def read_as_imported(
    inputs: Inputs,
    target: Path,
    options: ImageOptions | None,
    called: Callable[[str], str] = str,
    inside: str = "",
) -> tuple[Mapping[str, str], Mapping[str, int]]:
    """Write a Parquet file with a row for every image: the image as it is to be predicted, or why there is none.

    Parameters
    ----------
    inputs
        the images
    target
        the file to make; if it is there, it is taken as it is
    options
        extensions, files of single bands, masked pixels, size; None: the files stay as they are
    called
        gives a text in which the paths of files have the names that the user knows
    inside
        how the paths of all files begin, which says nothing of them

    Returns
    -------
    passed_over, changed
        files that are no images, and why; what was done to images, in words, and to how many

    Raises
    ------
    DataError
        With `band_from`, there are no files of several bands.
    """
    chosen = options or ImageOptions()
    named: Callable[[str], str] = lambda text: plain_name(called(text))  # noqa: E731
    reader, items, left_out = ImageReader(Path(), chosen, side=chosen.size), inputs.items(), dict[str, str]()
    if chosen.band_from == "name":
        objects, left_out = _bands([where for _, content in items if isinstance(where := content.where, str)], inside)
        reader = replace(reader, bands=objects)
        items = ((name, Content(key)) for key, name in _called(list(objects)).items())
    if not target.exists():
        rows = (_row(None if options is None else reader, name, content, named) for name, content in items)
        with replacing(target) as file, parquet_writer(file, SCHEMA, target) as write:
            while page := list(islice(rows, ROWS)):
                write(pa.Table.from_pylist(page, SCHEMA))
    passed_over = {**inputs.passed_over, **left_out}
    return {named(name): named(why) for name, why in passed_over.items()}, reader.changed


def _bands(paths: Sequence[str], inside: str) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """`join_bands` by what the paths are below a folder."""
    found, left_out = join_bands([path.removeprefix(inside) for path in paths])
    objects = {inside + key: {band: inside + name for band, name in files.items()} for key, files in found.items()}
    return objects, {inside + name: why for name, why in left_out.items()}


def _row(reader: ImageReader | None, name: str, content: Content, called: Callable[[str], str]) -> dict[str, Any]:
    """The image of a row, or the reason why there is none."""
    row = {"object_id": called(name), LONG_NAME: called(content.where if isinstance(content.where, str) else name)}
    try:
        if reader is None:
            data = content.read()
            if not data:
                decode(data, "")  # says what is wrong with it
        elif isinstance(content.where, str) and content.where in reader.bands:
            data = reader.read(content.where, "").data
        else:
            data = reader.stored(content.read(), "").data
    except BrokenImageError as error:
        return row | {"reason": called(error.reason)}
    return row | {"image": {"bytes": data, "path": row["object_id"]}, "sha256": hashlib.sha256(data).hexdigest()}


def _called(keys: Sequence[str]) -> dict[str, str]:
    """What to call each object: its path without ending, or the whole path where two would be called alike."""
    stems = {key: plain_stem(posixpath.basename(key)) for key in keys}
    return stems if len(set(stems.values())) == len(keys) else {key: key for key in keys}
