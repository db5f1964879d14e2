"""The JSON interface, `/api/v1`; described by `/api/openapi.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from skythaw.bundle.numbers_wanted import NumbersWanted
from skythaw.errors import DataError, SkythawError
from skythaw.machine.package_version import version_of
from skythaw.web.inference import InferenceQueue, numbers_of
from skythaw.web.json_replies import (
    CellRow,
    ObjectRow,
    Objects,
    Prediction,
    PredictionReply,
    Problem,
    RunStatus,
    ServedBundle,
)
from skythaw.web.shown_run import PAGE, ObjectFilter, ShownRun

FILES = 64
"""images in one request"""
REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
    for code, text in {
        400: "not understood",
        401: "a token is needed",
        403: "asked by a page of another site",
        404: "there is none of that name",
        408: "took too long to arrive",
        413: "too large",
        415: "compressed",
        421: "not our name",
        422: "it can't be used; the detail says why",
        503: "busy",
    }.items()
}
router = APIRouter(responses=REFUSALS)


def run_of(request: Request, name: str) -> ShownRun:
    """The run that an address names."""
    found: ShownRun | None = request.app.state.service.runs.get(name)
    if found is None:
        raise HTTPException(404, "there is no run of that name here")
    return found


def queue_of(request: Request, name: str) -> InferenceQueue:
    """The bundle that an address names."""
    found: InferenceQueue | None = request.app.state.service.bundles.get(name)
    if found is None:
        raise HTTPException(404, "there is no bundle of that name here")
    return found


OneRun = Annotated[ShownRun, Depends(run_of)]
OneQueue = Annotated[InferenceQueue, Depends(queue_of)]


@router.get("/health", response_class=PlainTextResponse, responses={})
async def health() -> str:
    """Whether the service is up."""
    return "ok"


@router.get("/api/v1/version")
async def the_version() -> dict[str, str]:
    """The version of skythaw."""
    return {"skythaw": version_of("skythaw")}


@router.get("/api/v1/bundles")
async def bundles(request: Request) -> list[ServedBundle]:
    """The classifiers that can be asked."""
    return [info(name, queue) for name, queue in list(request.app.state.service.bundles.items())]


@router.get("/api/v1/bundles/{name}")
async def bundle(name: str, queue: OneQueue) -> ServedBundle:
    """One classifier."""
    return info(name, queue)


@router.post("/api/v1/bundles/{name}/predict")
async def predict(
    name: str,
    queue: OneQueue,
    files: Annotated[list[UploadFile], File(description="Image files", min_length=1, max_length=FILES)],
    numbers: Annotated[
        str,
        Form(
            description='Numbers beside the images, as JSON: for each image an object such as {"modelMag_r": 17.2}, or '
            "null; empty for none",
            max_length=1_000_000,
        ),
    ] = "",
) -> PredictionReply:
    """Classify images; one that can't be read has its reason in `status`, and the others go on."""
    beside = _beside(queue, *_numbers(numbers, len(files)), len(files))
    usable = {i: (files[i], each) for i, each in enumerate(beside) if not isinstance(each, DataError)}
    answers = await queue.probabilities(list(usable.values()))
    found: dict[int, Any] = dict(enumerate(beside)) | dict(zip(usable, answers, strict=True))
    said = [
        Prediction(file=f"{i}", status=" ".join(str(each).split()))
        if isinstance(each, DataError)
        else Prediction(file=f"{i}", status="ok", **each)
        for i, each in found.items()
    ]
    return PredictionReply(bundle=queue.about.sha256, predictions=said)


def _beside(
    queue: InferenceQueue, given: Sequence[dict[str, str]], why: str, files: int
) -> list[np.ndarray | DataError | None]:
    """The numbers beside each file, or why they can't be used."""
    found: list[np.ndarray | DataError | None] = [DataError(why)] * files if why else []
    for each in given:
        try:
            found.append(numbers_of(queue.wants, each))
        except DataError as error:
            found.append(error)
    return found


def _numbers(text: str, files: int) -> tuple[list[dict[str, str]], str]:
    """What was sent of numbers, as text by column, for each file; or why it can't be used."""
    try:
        rows: Any = json.loads(text) if text.strip() else [None] * files
        rows = [{} if row is None else row for row in rows]
        if len(rows) != files:
            raise ValueError(f"{len(rows)} rows for {files} images")
        return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows], ""
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return [], f"numbers should be JSON, an object or null for each image: {error}"


@router.get("/api/v1/runs")
def runs(request: Request) -> list[RunStatus]:
    """The runs that are shown."""
    return [_status_or_problem(name, run) for name, run in list(request.app.state.service.runs.items())]


@router.get("/api/v1/runs/{name}")
def run(name: str, one: OneRun) -> RunStatus:
    """How far a run is."""
    return _status(name, one)


@router.get("/api/v1/runs/{name}/recommended")
def recommended(one: OneRun) -> list[dict[str, Any]]:
    """The depths that are recommended so far, as in `skythaw report --json`."""
    return one.recommended()


@router.get("/api/v1/runs/{name}/cells")
def cells(one: OneRun) -> list[CellRow]:
    """The cells of a study."""
    return [CellRow(**row) for row in one.cells()]


@router.get("/api/v1/runs/{name}/cells/{key}/objects", description=f"Objects of one cell, {PAGE} a page.")
def objects(one: OneRun, key: str, wanted: Annotated[ObjectFilter, Query()]) -> Objects:
    """What a cell said of the objects it was scored on: by true class, predicted class and probability."""
    total, rows = one.objects(key, wanted)
    return Objects(total=total, page=wanted.page, objects=[ObjectRow(**row) for row in rows])


def info(name: str, queue: InferenceQueue) -> ServedBundle:
    """What the service says of a bundle."""
    about = queue.about
    return ServedBundle(
        name=name,
        title=about.name,
        network=about.cell.backbone,
        depth=about.cell.depth,
        blocks=about.blocks,
        classes=list(about.classes),
        crop=about.cell.pixels.crop,
        bands=list(about.expected.bands),
        kind=about.expected.dtype,
        pixel_scale=about.expected.pixel_scale,
        macro_f1=about.scores["own"]["macro_f1"],
        accuracy=about.scores["own"]["accuracy"],
        cell=about.cell.key,
        sha256=about.sha256,
        columns=list(queue.wants.columns) if queue.wants else [],
        measured=int(NumbersWanted(about).is_measured.sum()) if about.numbers else 0,
        networks=len(about.members) or 1,
    )


def _status_or_problem(name: str, run: ShownRun) -> RunStatus:
    try:
        return _status(name, run)
    except (SkythawError, OSError):
        nothing = dict.fromkeys(("cells", "done", "failed", "running"), 0)
        return RunStatus(name=name, title=run.title, seconds_left=None, problem="it can't be read any more", **nothing)


def _status(name: str, run: ShownRun) -> RunStatus:
    return RunStatus(name=name, title=run.title, **{k: v for k, v in run.status().items() if k != "failures"})
