"""`skythaw data cutouts` from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skythaw.api.data_functions import columns_named, several_names
from skythaw.api.progress_bar import tracked

if TYPE_CHECKING:
    from skythaw.data.sources.sdss.fetch_sdss import FetchSummary


def fetch_cutouts(  # noqa: PLR0913 (each is an option of the command)
    out: Path | str,
    *,
    survey: str,
    catalog: Path | str,
    column: Mapping[str, str] | Sequence[str] | None = None,
    images: str = "jpeg",
    bands: str | Sequence[str] = "",
    size: int = 64,
    scale: float | None = None,
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
    """Fetch the cutouts of a catalogue from a survey; stop it at any time, and the same call goes on.

    Parameters
    ----------
    out
        the Parquet file to write
    survey
        ``ls-dr10``, ``panstarrs``, ``dss2`` and others; ``legacy:LAYER`` of the Legacy Survey viewer; or the identifier
        of any HiPS that CDS serves, such as ``CDS/P/DSS2/color``
    catalog
        your positions: a table with ``ra`` and ``dec``, and ``label`` if they have one
    column
        names of its columns, such as ``{"ra": "RA_J2000"}``
    images, bands, size, scale, max_black, base_url
        which images: docs/sdss.md
    rate, contact, workers, timeout, attempts, retry_failed
        how the service is asked
    progress
        show a bar

    Returns
    -------
    FetchSummary
        how many were asked for, fetched and rejected

    Raises
    ------
    UnknownNameError
        There is no such survey; the message names the nearest one.
    SpecError, DataError, RemoteError
        The request can't be met, or the service fails.
    """
    from skythaw.data.sources.sdss.http_client import HttpSettings
    from skythaw.data.sources.surveys.fetch_cutouts import fetch_cutouts as fetch
    from skythaw.data.sources.surveys.sky_surveys import find_survey
    from skythaw.data.sources.surveys.survey_request import SurveyRequest, scale_of

    found = find_survey(survey)
    apart = isinstance(bands, str) and "," not in bands and bands not in found.bands
    request = SurveyRequest(
        survey=found,
        catalog=Path(catalog),
        images=images,
        size=size,
        scale=scale_of(found, scale),
        bands=tuple(bands) if apart else several_names(bands),
        max_black=max_black,
        columns=columns_named(column),
    )
    return fetch(
        Path(out),
        request,
        HttpSettings(rate=rate, timeout=timeout, attempts=attempts, contact=contact, base_url=base_url),
        workers=workers,
        retry_failed=retry_failed,
        progress=lambda items, number, name: tracked(items, number, name, "objects", shown=progress),
    )
