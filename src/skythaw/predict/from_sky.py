"""Fetch the cutouts of a catalogue from SDSS, at the size and scale that a bundle expects.

The result is a Parquet file with a row for every object of the catalogue: its image, or the reason why there is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.data.parquet import IMAGE, parquet_writer, reading
from skythaw.data.sources.sdss.fetch_sdss import Progress, settle
from skythaw.data.sources.sdss.fetch_state import FetchState
from skythaw.data.sources.sdss.http_client import HttpSettings
from skythaw.data.sources.sdss.missing_reasons import Reason
from skythaw.data.sources.sdss.sdss_request import SIZES, Request
from skythaw.errors import BundleError, SpecError
from skythaw.machine.files import replacing

ROWS = 64
"""rows that are written at once"""
REQUEST = b"request"
"""key in the file's metadata"""


@dataclass(frozen=True)
class FetchSettings:
    """Where the images of a catalogue come from, and how the service is asked."""

    release: int = 17
    service: str = "skyserver"
    columns: dict[str, str] = field(default_factory=dict)
    """names of the catalogue's columns that are not found by their usual names"""
    http: HttpSettings = field(default_factory=HttpSettings)
    progress: Progress = lambda items, total, name: items


def request_of(about: BundleDescription, inputs: Sequence[str | Path], archive: FetchSettings) -> Request:
    """The request for images that a bundle can classify.

    Raises
    ------
    BundleError
        The bundle is for other images than the archive's colour JPEGs, or does not say what their scale was.
    SpecError
        There is not exactly one catalogue; or the archive can't give such images.
    """
    expected = about.expected
    if len(inputs) != 1:
        raise SpecError(f"--sdss takes one catalogue, not {len(inputs)} inputs")
    if expected.dtype != "uint8":
        raise BundleError(
            f"the bundle takes {expected.dtype} images with the bands {', '.join(expected.bands)}, and --sdss fetches "
            "colour JPEGs; make a file with `skythaw data sdss --images fits --catalog`, and predict that file"
        )
    if expected.pixel_scale is None:
        raise BundleError(
            "the bundle does not say the scale of its images (arcsec per pixel), so none can be fetched; make a file "
            "with `skythaw data sdss --catalog` and --scale, and predict that file"
        )
    least = SIZES[0] if archive.service == "skyserver" else 0  # a larger image is cut in the middle
    return Request(
        release=archive.release,
        service=archive.service,
        size=max(expected.side, least),
        scale=expected.pixel_scale,
        catalog=Path(inputs[0]),
        columns=archive.columns,
    )


def fetch_catalogue(about: BundleDescription, inputs: Sequence[str | Path], out: Path, archive: FetchSettings) -> Path:
    """Fetch what `skythaw predict --sdss` predicts, into a Parquet file beside the output: OUT.sdss.parquet.

    The state file is OUT.sdss. If the call is stopped, the same call goes on, and asks for nothing twice. Failures that
    may pass (see `Reason.passes`) are tried again by every call, until a prediction of the file has begun.

    Raises
    ------
    BundleError, SpecError
        See `request_of`.
    DataError, RemoteError, OutputError
        See `skythaw.data.sources.sdss.fetch_sdss.fetch_sdss`.
    """
    request = request_of(about, inputs, archive)
    state, file = (out.with_name(out.name + ending) for ending in (".sdss", ".sdss.parquet"))
    asked = json.dumps(request.describe(), sort_keys=True)
    if out.with_name(f"{out.name}.part").exists() and _asked(file) == asked:
        return file
    settled = settle(state, request, archive.http, progress=archive.progress)
    try:
        schema = SCHEMA.with_metadata({REQUEST: asked.encode()})
        with replacing(file) as opened, parquet_writer(opened, schema, file) as write:
            rows = _rows(settled)
            while page := list(islice(rows, ROWS)):
                write(pa.Table.from_pylist(page, schema))
    finally:
        settled.close()
    return file


SCHEMA = pa.schema(
    [
        ("object_id", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("image", IMAGE),
        ("sha256", pa.string()),
        ("reason", pa.string()),
    ]
)


def _rows(state: FetchState) -> Iterator[dict[str, Any]]:
    for name, ra, dec, outcome, image in state.outcomes():
        row = {"object_id": name, "ra": ra, "dec": dec}
        if image is None:
            yield row | {"reason": f"not fetched, {outcome}: {Reason(outcome).words}"}
        else:
            yield row | {
                "image": {"bytes": image, "path": f"{name}.jpg"},
                "sha256": hashlib.sha256(image).hexdigest(),
            }


def _asked(file: Path) -> str | None:
    """The request that a file was fetched for; None if there is no such file."""
    if not file.exists():
        return None
    with reading(file), pq.ParquetFile(file) as opened:
        return ((opened.schema_arrow.metadata or {}).get(REQUEST) or b"").decode()
