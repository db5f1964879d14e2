"""The pages. All of them work without JavaScript; every word of a user is text and never HTML."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Form, Query, Request, UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from skythaw.errors import DataError, LedgerError, UnknownNameError
from skythaw.explain.explanation import FAR, likeness
from skythaw.explain.number_reasons import SHOWN as NUMBERS_SHOWN
from skythaw.machine.files import plain_name
from skythaw.report.figures.figure_style import DARK, LIGHT
from skythaw.report.figures.matplotlib_figures import draw
from skythaw.report.figures.training_figures import cell_charts
from skythaw.report.statistics.chosen_cells import cell_curve
from skythaw.web.inference import numbers_of
from skythaw.web.json_api import OneQueue, OneRun, info, queue_of
from skythaw.web.render_page import page, report_page, template
from skythaw.web.request_guard import COOKIE
from skythaw.web.shown_run import COLUMNS, PAGE, ObjectFilter, ShownRun

router = APIRouter()
OF_DRAWINGS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "cache-control": "private, max-age=3600",
}
"""headers: a drawing brings its styles along, and nothing else"""


@router.get("/")
def home(request: Request) -> Response:
    """What is served."""
    service = request.app.state.service
    bundles = [info(name, queue) for name, queue in list(service.bundles.items())]
    runs = [(name, run.title, _state(run)) for name, run in list(service.runs.items())]
    if service.desk and not bundles and not runs and not service.sets:
        return RedirectResponse("/tune", 303)
    return page(request, "home", "skythaw", bundles=bundles, runs=runs, sets=service.sets, desk=service.desk)


@router.get("/login")
def ask_token(request: Request) -> Response:
    """A form for the token."""
    return page(request, "login", "A token is needed", status=200, wrong=False)


@router.post("/login")
def take_token(request: Request, token: Annotated[str, Form(max_length=1000)] = "") -> Response:
    """Let a browser in: it gets a cookie that scripts can't read and other sites can't send."""
    rules = request.app.state.service.rules
    if not rules.knows(token.strip()):
        return page(request, "login", "A token is needed", status=401, wrong=True)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, rules.pass_, httponly=True, samesite="strict")
    return answer


@router.get("/api")
def interface(request: Request) -> Response:
    """The programs' interface in words."""
    described = [
        (method.upper(), path, what.get("summary", ""), what.get("description", ""))
        for path, methods in request.app.openapi()["paths"].items()
        for method, what in methods.items()
    ]
    return page(request, "api", "For programs", described=described)


@router.get("/runs/{name}")
def run(request: Request, name: str, one: OneRun) -> Response:
    """A run: how far it is. Its answer so far takes seconds to compute, and comes after it."""
    return page(request, "run", one.title, name=name, state=one.status())


@router.get("/runs/{name}/answer")
def answer(request: Request, name: str, one: OneRun) -> Response:
    """What the cells that are done say."""
    state = one.status()
    answers = one.answers() if state["done"] else []
    return page(request, "answer", one.title, name=name, state=state, answers=answers)


@router.get("/runs/{name}/progress")
def progress(request: Request, name: str, one: OneRun) -> Response:
    """The part of a run's page that changes while it runs."""
    text = template("progress").render(name=name, state=one.status())
    return HTMLResponse(text)


@router.get("/runs/{name}/report")
async def report(request: Request, one: OneRun) -> Response:
    """The report, under the policy that it brings along: it draws with scripts of its own."""
    return report_page(await run_in_threadpool(one.report))


@router.get("/runs/{name}/cells")
def cells(
    request: Request,
    name: str,
    one: OneRun,
    sort: str = "",
    down: bool = False,
    text: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Every cell of a run."""
    rows = one.cells(sort, down, text)
    heads = [
        (column, "?" + urlencode({"sort": column, "down": int(column == sort and not down), "text": text}))
        for column in COLUMNS
    ]
    return page(
        request, "cells", f"Cells of {one.title}", name=name, rows=rows, heads=heads, sort=sort, down=down, text=text
    )


@router.get("/runs/{name}/cells/{key}")
def cell(request: Request, name: str, key: str, one: OneRun) -> Response:
    """One cell: settings, scores, curves."""
    entry = one.cell(key)
    settings = {k: v for k, v in _flat(entry.cell.model_dump(mode="json")).items() if v is not None}
    charts = cell_charts(cell_curve(entry.result)) if entry.result else []
    error = (entry.error or "").strip().splitlines()[-1:] if entry.state == "failed" else []
    return page(
        request, "cell", f"Cell {key[:12]}", name=name, entry=entry, settings=settings, charts=charts, error=error
    )


@router.get("/runs/{name}/cells/{key}/curves/{chart}.svg")
def curves(key: str, chart: str, one: OneRun, dark: bool = False) -> Response:
    """How a cell trained, as a picture in the colours of the browser's theme: pages work without scripts."""
    entry = one.cell(key)
    charts = cell_charts(cell_curve(entry.result)) if entry.result else []
    figure = next((each for each in charts if each.name == chart), None)
    if figure is None:
        raise UnknownNameError("that cell has no such curves")
    return Response(draw(figure, "svg", dark=dark), media_type="image/svg+xml", headers=OF_DRAWINGS)


class Choice(ObjectFilter):
    """The same of a cell that is chosen in the page's form."""

    cell: str = ""
    """its key; that of the recommended depth, if empty"""


@router.get("/runs/{name}/objects")
def objects(request: Request, name: str, one: OneRun, wanted: Annotated[Choice, Query()]) -> Response:
    """What a cell said of the objects that it was scored on."""
    done = [row for row in one.cells() if row["state"] == "done"]
    if not done:
        raise DataError("no cell is done yet: there are no predictions so far")
    entry = one.cell(wanted.cell or one.recommended_cell())
    total, rows = one.objects(entry.key, wanted)
    last = max(1, -(-total // PAGE))
    query = dict(request.query_params)
    links = {
        text: "?" + urlencode(query | {"page": number})
        for text, number in (("Previous", wanted.page - 1), ("Next", wanted.page + 1))
        if 1 <= number <= last
    }
    classes = entry.result.classes if entry.result else ()
    bundles = list(request.app.state.service.bundles)
    return page(
        request, "objects", f"Objects of {one.title}", name=name, wanted=wanted, cell=entry.key, done=done, total=total,
        rows=rows, classes=classes, last=last, links=links, bundles=bundles,
    )  # fmt: skip


@router.get("/runs/{name}/image")
def image(one: OneRun, object_id: Annotated[str, Query(alias="object", max_length=300)]) -> Response:
    """An object as its network saw it."""
    headers = {"cache-control": "private, max-age=3600"}
    return Response(one.picture(object_id), media_type="image/png", headers=headers)


@router.get("/bundles/{name}")
async def bundle(
    request: Request, name: str, queue: OneQueue, run: str = "", object_id: Annotated[str, Query(alias="object")] = ""
) -> Response:
    """A classifier: a form for images, and what it says of an object of a run's data."""
    if not object_id:
        return _bundle(request, name)
    one: ShownRun | None = request.app.state.service.runs.get(run)
    if one is None:
        raise HTTPException(404, "there is no run of that name here")
    data = await run_in_threadpool(one.image, object_id)
    given = await run_in_threadpool(one.given, object_id, queue.wants) if queue.wants else None
    true = await run_in_threadpool(one.label, object_id)
    return _bundle(request, name, [(object_id, *await _explained(request, name, data, given), true)])


@router.post("/bundles/{name}")
async def ask(request: Request, name: str, queue: OneQueue, files: list[UploadFile]) -> Response:
    """What the classifier says of uploaded images."""
    given = [file for file in files if file.filename or file.size]
    if not given:
        raise HTTPException(422, "no file was chosen")
    if len(given) > SHOWN:
        raise HTTPException(422, f"{len(given)} files: a page shows at most {SHOWN}; for more there is skythaw predict")
    fields = (await request.form()).items()
    typed = {key.removeprefix(COLUMN): str(text) for key, text in fields if key.startswith(COLUMN)}
    beside = numbers_of(queue.wants, typed)
    if beside is not None and len(given) > 1:
        raise HTTPException(422, f"numbers are of one object, and there are {len(given)} images: give one image")
    results = [
        (_shown_name(f.filename, i), *await _explained(request, name, f, beside), None) for i, f in enumerate(given)
    ]
    bad = all(said is None for _, said, _, _ in results)
    return _bundle(request, name, results, 422 if bad else 200, typed)


COLUMN = "column."
"""begins the name of a field of the form that is of a column of numbers"""
LONGEST = 80
"""letters of a file's name that are shown"""
SHOWN = 12
"""images explained on one page"""


def _shown_name(given: str | None, number: int) -> str:
    """What an uploaded image is called: the name of its file, without folders, or its number where it has none."""
    name = plain_name((given or "").replace("\\", "/").rpartition("/")[2])[:LONGEST]
    return name or f"Image {number + 1}"


async def _explained(
    request: Request, name: str, file: bytes | UploadFile, given: np.ndarray | None
) -> tuple[dict[str, Any] | None, str]:
    """What a bundle says of an image, or why nothing."""
    try:
        return await queue_of(request, name).explained(file, given), ""
    except DataError as error:
        return None, " ".join(str(error).split())


def _bundle(
    request: Request,
    name: str,
    results: list[Any] | None = None,
    status: int = 200,
    typed: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    queue = queue_of(request, name)
    return page(
        request, "bundle", queue.about.name, status, name=name, about=queue.about, info=info(name, queue),
        results=results or [], far=FAR, likeness=likeness, column=COLUMN, typed=typed, shown=NUMBERS_SHOWN,
        runs=list(request.app.state.service.runs), largest=request.app.state.service.rules.largest,
    )  # fmt: skip


def refused(request: Request, status: int, text: str, headers: dict[str, str]) -> Response:
    """The page that says why something is not to be had; where a token is missing, a form for it."""
    if status == 401:
        answer = page(request, "login", "A token is needed", status, wrong=False)
    else:
        answer = page(request, "refused", "That did not work", status, text=text[:1].upper() + text[1:])
    answer.headers.update(headers)
    return answer


@router.get("/static/theme.css")
def theme() -> Response:
    """The colours of the report."""
    light, dark = (";".join(f"--{k}:{v}" for k, v in some.items()) for some in (LIGHT, DARK))
    text = f":root{{color-scheme:light dark;{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    return Response(text, media_type="text/css", headers={"cache-control": "max-age=3600"})


def _state(run: ShownRun) -> dict[str, Any] | None:
    """How far a run is; None if its folder can't be read any more."""
    try:
        return run.status()
    except LedgerError:
        return None


def _flat(content: dict[str, Any], name: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        dotted = f"{name}.{key}" if name else key
        found |= _flat(value, dotted) if isinstance(value, dict) else {dotted: value}
    return found
