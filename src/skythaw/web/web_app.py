"""The service: pages for people, `/api/v1` for programs, over the runs and bundles that it was given."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from skythaw.errors import BundleError, DataError, LedgerError, SkythawError, UnknownNameError
from skythaw.machine.machine_fault import memory_is_full
from skythaw.machine.package_version import version_of
from skythaw.web import json_api, pages, set_pages, start_page
from skythaw.web.inference import BusyError, InferenceQueue
from skythaw.web.render_page import in_address
from skythaw.web.request_guard import Guard, Rules
from skythaw.web.shown_run import ShownRun
from skythaw.web.shown_set import ShownSet
from skythaw.web.tune_desk import TuneDesk

STATUS: tuple[tuple[type[SkythawError], int], ...] = (
    (BusyError, 503),
    (UnknownNameError, 404),
    (DataError, 422),
    (LedgerError, 500),
    (BundleError, 500),
)


@dataclass(frozen=True)
class Service:
    """What is served."""

    runs: dict[str, ShownRun]
    bundles: dict[str, InferenceQueue]
    rules: Rules
    sets: dict[str, ShownSet]
    pool: ThreadPoolExecutor
    """the one thread in which bundles answer"""
    desk: TuneDesk | None = None
    """where the start page begins runs, which are added to `runs` and `bundles`; None: it begins none"""


@dataclass(frozen=True)
class SetsGiven:
    """Files of features that are to be shown."""

    paths: list[Path]
    store: Path
    """a folder for copies of the features"""
    images: list[str]
    """where the images of all these objects are"""

    def opened(self) -> dict[str, ShownSet]:
        """The sets by their names."""
        return {name: ShownSet(path, self.store, self.images) for name, path in named(self.paths).items()}


def open_service(
    runs: list[Path],
    bundles: list[Path],
    rules: Rules,
    device: str = "cpu",
    desk: TuneDesk | None = None,
    sets: SetsGiven | None = None,
) -> Service:
    """Open runs, bundles and sets; each is called by its folder's name, with a number where two are called alike.

    Raises
    ------
    LedgerError, BundleError
        One is no run folder, or no bundle.
    DataError, OutputError
        A file has no features; images are not there.
    """
    pool = ThreadPoolExecutor(1, "skythaw-queue")
    queues = {name: InferenceQueue(path, pool, device) for name, path in named(bundles).items()}
    shown = {name: ShownRun(path) for name, path in named(runs).items()}
    return Service(shown, queues, rules, {} if sets is None else sets.opened(), pool, desk)


def named(paths: list[Path]) -> dict[str, Path]:
    """A name for each folder that an address can hold."""
    found: dict[str, Path] = {}
    for path in paths:
        name, number = in_address(path.resolve().name), 2
        while (unique := name if number == 2 and name not in found else f"{name}-{number}") in found:
            number += 1
        found[unique] = path
    return found


def make_app(service: Service) -> Guard:
    """The service as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        if service.desk:
            await run_in_threadpool(service.desk.close)
        service.pool.shutdown(cancel_futures=True)

    app = FastAPI(
        title="skythaw",
        version=version_of("skythaw"),
        description="Fine-tuned classifiers of cutouts of the sky, and the studies they come from.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(json_api.router)
    app.include_router(set_pages.api)
    app.include_router(pages.router, include_in_schema=False)
    app.include_router(set_pages.router, include_in_schema=False)
    app.include_router(start_page.router, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=str(files("skythaw.web") / "static")), name="static")
    for kind in (HTTPException, RequestValidationError, SkythawError, OSError, MemoryError):
        app.add_exception_handler(kind, refusal)
    return Guard(app, service.rules, refusal)


async def refusal(request: Request, error: Exception) -> Response:
    """The answer to a request that can't be served: one sentence, as JSON for programs and as a page for people."""
    status, text, headers = _said(error)
    if request.url.path.startswith(("/api/", "/health")):
        return JSONResponse({"status": status, "detail": text}, status, headers, "application/problem+json")
    return pages.refused(request, status, text, headers)


def _said(error: Exception) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
        return 422, f"{where}: {first['msg'].lower()}", {}
    why = error.__cause__ if isinstance(error, HTTPException) else error  # FastAPI refuses a body whatever the reason
    if isinstance(why, OSError) and why.errno in (errno.ENOSPC, errno.EDQUOT):
        return 503, "the service has no room on its disk for what was sent; ask who runs it", {"retry-after": "60"}
    if memory_is_full(why) or memory_is_full(error.__cause__):
        return 503, "the service has no memory left for this; ask again in a moment", {"retry-after": "2"}
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), dict(error.headers or {})
    status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
    if status == 500:  # its message names folders of this machine
        return status, "what is served here can't be read any more; ask who runs the service", {}
    return status, " ".join(str(error).split()), {"retry-after": "2"} if status == 503 else {}
