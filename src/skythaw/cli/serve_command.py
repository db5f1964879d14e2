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
    run: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="A run folder to show. May be repeated.")
    ] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option(metavar="BUNDLE", help="A classifier to ask. May be repeated.")
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
) -> None:
    """Pages of studies (live while they run) and classifiers (drop an image), and the same for programs."""
    if not run and not bundle:
        raise SpecError("nothing to serve: give --run RUN, --bundle BUNDLE, or both")
    token = _token(token_file)
    if token is None and not _is_loopback(host):
        raise SpecError(f"--host {host} can be reached by others: give a token by --token-file FILE or SKYTHAW_TOKEN")
    server = _server()
    from skythaw.web.request_guard import Rules
    from skythaw.web.web_app import make_app, open_service

    names = {"127.0.0.1", "::1", "localhost", host.lower(), *(each.lower() for each in name or ())}
    anywhere = host in ("0.0.0.0", "::") and not name  # with a token: see above
    rules = Rules(None if anywhere else frozenset(names), int(max_upload * 1e6), token)
    with server.listen(host, port) as listening:
        app = make_app(open_service(run or [], bundle or [], rules))
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{listening.getsockname()[1]}/  (Ctrl-C stops it)")
        server.run(app, listening)


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
