"""Listening, and running the service until Ctrl-C."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from skythaw.errors import OutputError

CONNECTIONS = 1000
"""at a time; one more gets 503"""


HEAD = 10.0
"""seconds that the head of a connection's first request may take to arrive"""


class Impatient(H11Protocol):
    """Uvicorn's protocol, which by itself would wait for ever for a first request."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        asyncio.get_running_loop().call_later(HEAD, self._require_head)

    def _require_head(self) -> None:
        if self.cycle is None:
            self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; raises `OutputError` where that can't be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)
    except OSError as error:
        listening.close()
        raise OutputError(
            f"can't listen on {host}, port {port}: {error.strerror or error}; try another --port"
        ) from None
    return listening


def run(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(
        app,
        http=Impatient,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=32 << 10,
    )
    uvicorn.Server(config).run(sockets=[listening])
