"""`fetch_cutouts`: the cutouts of a catalogue from any survey, with the client, the state and the checks of SDSS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skythaw.data.sources.sdss.fetch_sdss import FetchSummary, Progress, build, settle
from skythaw.data.sources.sdss.http_client import Client, HttpSettings
from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.surveys.sky_surveys import SkySurvey, known_names
from skythaw.data.sources.surveys.survey_request import SurveyRequest
from skythaw.errors import RemoteError, UnknownNameError

RECORDS = "https://alasky.cds.unistra.fr/MocServer/query"
"""where CDS tells which surveys it has"""
LARGEST_RECORD = 4 << 20


def fetch_cutouts(
    out: Path,
    request: SurveyRequest,
    http: HttpSettings | None = None,
    *,
    workers: int = 2,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> FetchSummary:
    """Make a file of cutouts from a survey. If it was stopped, the same call goes on: see `fetch_sdss`.

    The state file `OUT.cutouts` lies beside `out`.

    Raises
    ------
    UnknownNameError
        The service has no such survey.
    RemoteError, DataError, SpecError, OutputError
        See `fetch_sdss`.
    """
    out, settings = Path(out), http or HttpSettings()
    path = out.with_name(out.name + ".cutouts")
    if not request.survey.known and request.service == "hips2fits" and not path.exists():
        _require_survey(request.survey, settings)
    state = settle(path, request, settings, workers=workers, retry_failed=retry_failed, progress=progress)
    try:
        return build(out, state, request)
    finally:
        state.close()


def _require_survey(survey: SkySurvey, settings: HttpSettings) -> None:
    """Ask CDS whether it has a survey, because it would answer each position alike if it has none."""
    client = Client(settings)
    try:
        found = client.get(RECORDS, {"ID": survey.name, "get": "record", "fmt": "json"}, LARGEST_RECORD, _records)
    except Fault as fault:
        raise RemoteError(f"CDS does not say whether it has {survey.name}: {fault.detail}; ask again later") from None
    finally:
        client.close()
    if not found:
        raise UnknownNameError.among("survey", survey.name, known_names())


def _records(reply: bytes) -> list[Any]:
    try:
        found = json.loads(reply)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise Fault(Reason.NOT_AN_IMAGE, "an answer that is no list of surveys")
    return found
