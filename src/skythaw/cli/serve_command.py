"""``skythaw serve``: runs and bundles as pages, and as an interface for programs."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated

import typer

from skythaw.cli.terminal import say
from skythaw.errors import SpecError, UnknownNameError

SHORTEST = 16
"""letters of a token"""


def serve(
    context: typer.Context,
    run: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="A run folder to show. May be repeated.")
    ] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option(metavar="BUNDLE", help="A classifier to ask. May be repeated.")
    ] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Objects to show by what looks alike: a file of `skythaw features` or `skythaw predict --features`. "
            "May be repeated.",
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT", help="--features: where the images of these objects are. May be repeated."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Any other than the default needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = 8642,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Requests must bring the token in this file.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Another host name under which people reach the service. May be repeated."),
    ] = None,
    max_upload: Annotated[float, typer.Option(min=0.001, max=1000, metavar="MB", help="The largest upload.")] = 10.0,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A page starts runs of tune in this folder alone. Where nothing else is served: the current one.",
        ),
    ] = None,
) -> None:
    """A page that runs tune; pages of studies (live) and classifiers (drop an image), and the same for programs."""
    if images and not features:
        raise SpecError("--images are those of the objects of --features FILE, which is missing")
    root = _root(folder, host, name, alone=not run and not bundle and not features)
    token = _token(token_file)
    if token is None and not _is_loopback(host):
        raise SpecError(f"--host {host} can be reached by others: give a token by --token-file FILE or SKYTHAW_TOKEN")
    server = _server()
    from skythaw.web.request_guard import Rules
    from skythaw.web.tune_desk import TuneDesk
    from skythaw.web.web_app import SetsGiven, make_app, open_service

    names = {"127.0.0.1", "::1", "localhost", host.lower(), *(each.lower() for each in name or ())}
    anywhere = host in ("0.0.0.0", "::") and not name  # with a token: see above
    rules = Rules(None if anywhere else frozenset(names), int(max_upload * 1e6), token)
    with server.listen(host, port) as listening:
        desk = TuneDesk(root, context.obj) if root else None
        sets = SetsGiven(features or [], context.obj / "shown", images or [])
        app = make_app(open_service(run or [], bundle or [], rules, desk=desk, sets=sets))
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{listening.getsockname()[1]}/  (Ctrl-C stops it)")
        server.run(app, listening)


def _root(folder: Path | None, host: str, names: list[str] | None, *, alone: bool) -> Path | None:
    """The folder in which the start page may begin runs; None: there is none. Only who is on this machine gets one."""
    here = _is_loopback(host) and not names
    if folder is None and not (alone and here):
        if alone:
            raise SpecError("nothing to serve: give --run RUN, --bundle BUNDLE, --features FILE, or several of them")
        return None
    if not here:
        raise SpecError("--folder lets a browser start runs, on this machine alone: leave out --host and --name")
    if folder and not folder.is_dir():
        raise SpecError(f"--folder {folder} is no folder")
    return folder or Path()


def _server():  # type: ignore[no-untyped-def]
    try:
        from skythaw.web import http_server as server
    except ModuleNotFoundError as error:
        raise UnknownNameError(f"serve needs the package {error.name}: pip install 'skythaw[web]'") from None
    return server


def _token(file: Path | None) -> str | None:
    """The token, from a file or the environment: never from the command line, which others can see."""
    if file is None:
        token = os.environ.get("SKYTHAW_TOKEN")
        where = "SKYTHAW_TOKEN"
    else:
        where = str(file)
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise SpecError(f"can't read the token in {file}: {getattr(error, 'strerror', None) or error}") from None
    if token is not None and (len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token):
        raise SpecError(f"the token in {where} should have {SHORTEST} or more letters, digits and signs, no spaces")
    return token


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
