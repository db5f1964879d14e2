"""The start page: a folder in, `tune` runs, its progress is seen, and the report and the classifier are a click away.

It is for this machine alone: see `serve` for when it is offered.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from skythaw.errors import LedgerError, SkythawError
from skythaw.web.form_words import in_form_words
from skythaw.web.inference import InferenceQueue
from skythaw.web.render_page import in_address, page, report_page, template
from skythaw.web.shown_run import ShownRun
from skythaw.web.started_tune import StartedTune
from skythaw.web.tune_desk import LONGEST, BusyDeskError, TuneDesk

router = APIRouter(prefix="/tune")
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""headers of a request that did not come from this machine, but through a proxy on it"""


def desk_of(request: Request) -> TuneDesk:
    """Where runs begin; only for who is on this machine."""
    desk: TuneDesk | None = request.app.state.service.desk
    if desk is None:
        raise HTTPException(404, "this service starts no runs: skythaw serve --folder DIR does, on this machine alone")
    if not _is_here(request):
        raise HTTPException(403, "runs are started and seen on this machine alone")
    return desk


def _is_here(request: Request) -> bool:
    """Whether it comes from this machine, and not through a proxy on it."""
    try:
        local = request.client is None or ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        local = False
    return local and not any(name in request.headers for name in FORWARDED)


Desk = Annotated[TuneDesk, Depends(desk_of)]


async def form_of(request: Request, desk: Desk) -> dict[str, str]:
    """What the form brings; raises where it is not of our own page."""
    form = {name: str(value)[: LONGEST + 1] for name, value in (await request.form()).items()}
    if not desk.knows(form.get("secret", "")):
        raise HTTPException(403, "this is done from the page of this service alone: open it again")
    return form


Form = Annotated[dict[str, str], Depends(form_of)]


@router.get("")
def start(request: Request, desk: Desk) -> Response:
    """The form; or the run that is under way, or has ended."""
    return _start(request, desk)


@router.post("")
def begin(request: Request, desk: Desk, form: Form) -> Response:
    """Begin a run."""
    try:
        desk.start(form)
    except BusyDeskError as error:
        raise HTTPException(409, str(error)) from None
    except SkythawError as error:
        return _start(request, desk, in_form_words(" ".join(str(error).split())))
    for named in (request.app.state.service.runs, request.app.state.service.bundles):
        named.pop(_name(_now(desk)), None)  # of a run before, in the same folder
    return RedirectResponse("/tune", 303)


@router.post("/stop")
def stop(desk: Desk, _: Form) -> Response:
    """Stop the run: the best so far is there."""
    _now(desk).stop()
    return RedirectResponse("/tune", 303)


@router.get("/progress")
def progress(request: Request, desk: Desk) -> Response:
    """The part of the page that changes while `tune` runs."""
    return HTMLResponse(template("tuning").render(**_shown(request, _now(desk))))


@router.get("/report")
def report(desk: Desk) -> Response:
    """The report that `tune` wrote."""
    file = _now(desk).folder.report
    if not file.is_file():
        raise HTTPException(404, "there is no report yet")
    return report_page(file.read_text(encoding="utf-8"))


@router.get("/classifier")
async def classifier(request: Request, desk: Desk) -> Response:
    """The page of the classifier that `tune` wrote, which is loaded for it."""
    service, now = request.app.state.service, _now(desk)
    if now.running or not now.folder.classifier.is_dir():
        raise HTTPException(404, "there is no classifier yet")
    name = _name(now)
    if name not in service.bundles:
        made = await run_in_threadpool(InferenceQueue, now.folder.classifier, service.pool)
        service.bundles.setdefault(name, made)
    return RedirectResponse(f"/bundles/{name}", 303)


def _start(request: Request, desk: TuneDesk, wrong: str = "") -> Response:
    shown = {} if desk.now is None else _shown(request, desk.now)
    return page(
        request, "tune", "Start a run", 422 if wrong else 200, desk=desk, wrong=wrong, typed=desk.typed,
        longest=LONGEST, **({"state": None} | shown),
    )  # fmt: skip


def _shown(request: Request, now: StartedTune) -> dict[str, Any]:
    """What the page says of a run; its study is shown beside the others from the moment that it is there."""
    runs, name = request.app.state.service.runs, _name(now)
    if name not in runs and (now.folder.run / "ledger.sqlite").is_file():
        with suppress(LedgerError):  # it is just being made
            runs[name] = ShownRun(now.folder.run)
    return {"state": now.state(), "folder": now.folder, "name": name if name in runs else None}


def _name(now: StartedTune) -> str:
    """The name in addresses of what a run makes; nothing that the service was given begins with ~."""
    return f"~{in_address(now.folder.path.name)}"


def _now(desk: TuneDesk) -> StartedTune:
    if desk.now is None:
        raise HTTPException(404, "no run was started here yet")
    return desk.now
