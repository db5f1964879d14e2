"""`skythaw data sdss` from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skythaw import registry
from skythaw.api.data_functions import columns_named, release_number, several_names
from skythaw.api.progress_bar import tracked
from skythaw.errors import SpecError

if TYPE_CHECKING:
    from skythaw.data.sources.sdss.fetch_sdss import FetchSummary
    from skythaw.data.sources.sdss.sdss_request import Request


def fetch_sdss(  # noqa: PLR0913 (each is an option of the command)
    out: Path | str,
    *,
    per_class: int | None = None,
    total: int | None = None,
    sql: Path | str | None = None,
    catalog: Path | str | None = None,
    column: Mapping[str, str] | Sequence[str] | None = None,
    classes: str | Sequence[str] = "GALAXY,QSO,STAR",
    min_mag: float | None = None,
    max_mag: float | None = None,
    min_redshift: float | None = None,
    max_redshift: float | None = None,
    seed: int = 0,
    release: str | int = "17",
    images: str = "jpeg",
    service: str = "skyserver",
    bands: str = "",
    size: int = 64,
    scale: float = 0.396,
    max_black: float = 0.05,
    base_url: str | None = None,
    rate: float = 1.0,
    contact: str | None = None,
    workers: int = 2,
    timeout: float = 60.0,
    attempts: int = 5,
    retry_failed: bool = False,
    progress: bool = True,
) -> FetchSummary:
    """Fetch labelled cutouts from the Sloan Digital Sky Survey; stop it at any time, and the same call goes on.

    Parameters
    ----------
    out
        the Parquet file to write
    per_class, total, sql, catalog
        which objects: so many of each class, so many in all, those of your own query (a file), or your own positions
    column, classes, min_mag, max_mag, min_redshift, max_redshift, seed
        columns of the catalogue; and what is drawn from the spectroscopic sample
    release, images, service, bands, size, scale, max_black, base_url
        which images: docs/sdss.md
    rate, contact, workers, timeout, attempts, retry_failed
        how the services are asked
    progress
        show a bar

    Returns
    -------
    FetchSummary
        how many were asked for, fetched and rejected

    Raises
    ------
    SpecError, DataError, RemoteError
        The request can't be met, or a service fails.
    """
    from skythaw.data.sources.sdss.http_client import HttpSettings

    found: FetchSummary = registry.get("source", "sdss")(
        Path(out),
        request_of(locals()),
        HttpSettings(rate=rate, timeout=timeout, attempts=attempts, contact=contact, base_url=base_url),
        workers=workers,
        retry_failed=retry_failed,
        progress=lambda items, number, name: tracked(items, number, name, "objects", shown=progress),
    )
    return found


def request_of(given: Mapping[str, Any]) -> Request:
    """What is asked of the archive, by the arguments of `fetch_sdss`."""
    from skythaw.data.sources.sdss.sdss_request import Request
    from skythaw.data.sources.sdss.spectra_query import Limits

    as_they_are = ("images", "service", "size", "scale", "max_black", "per_class", "total", "seed")
    return Request(
        release=release_number(given["release"]),
        bands=tuple(given["bands"].replace(",", "")),
        classes=tuple(name.upper() for name in several_names(given["classes"])),
        limits=Limits(given["min_mag"], given["max_mag"], given["min_redshift"], given["max_redshift"]),
        sql=None if given["sql"] is None else _text(Path(given["sql"])),
        catalog=None if given["catalog"] is None else Path(given["catalog"]),
        columns=columns_named(given["column"]),
        **{name: given[name] for name in as_they_are},
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"can't read the query {path}: {getattr(error, 'strerror', None) or error}") from None
