"""Listening, and running the service until Ctrl-C."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from skythaw.errors import OutputError
from skythaw.machine.allocator import share_arenas

CONNECTIONS = 1000
"""at a time; one more gets 503"""
CROWD = 600
"""connections, beyond which one that only waits for its client is closed for each new one: idle ones first"""
BACKLOG = 256
"""connections that wait, and are taken at once: with `CROWD` fewer than the 1,024 files that a process may open"""
HEAD = 10.0
"""seconds that a connection may be without a request: the head of each has to arrive in this time"""
SENDING = 120.0
"""seconds that a client may take to read one answer"""


class Impatient(H11Protocol):
    """Uvicorn's protocol, which by itself would wait for ever: for the rest of a head, and for a client that reads."""

    since = 0.0
    """the moment at which this connection came, or its last answer ended"""
    _head: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > CROWD:
            _make_room([each for each in self.connections if isinstance(each, Impatient) and each is not self])

    def on_response_complete(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        self._wait_for_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(SENDING, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head, self._sending):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def stalled(self) -> bool:
        """Whether the client is waited for, in the middle of a request or of its answer."""
        return not self.idle and (self.cycle.more_body or self.flow.write_paused)

    def _wait_for_head(self) -> None:
        self.since = self.loop.time()
        if self._head is not None:
            self._head.cancel()
        self._head = self.loop.call_later(HEAD, self._require_head)

    def _require_head(self) -> None:
        if self.idle:
            self.transport.close()  # which waits until what was written is read
            self._head = self.loop.call_later(HEAD, self.transport.abort)


def _make_room(others: Iterable[Impatient]) -> None:
    """Close the oldest connection that is idle, or else the oldest that is stalled; none that is being answered."""
    waiting = [each for each in others if not each.transport.is_closing() and (each.idle or each.stalled)]
    if waiting:
        min(waiting, key=lambda each: (not each.idle, each.since)).transport.abort()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; raises `OutputError` where that can't be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with its protocol named, or asyncio leaves Nagle's algorithm on, and each answer waits 40 ms for the client
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OutputError(
            f"can't listen on {host}, port {port}: {error.strerror or error}; try another --port"
        ) from None
    return listening


def run(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until a signal comes."""
    share_arenas()
    config = uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=32 << 10,
    )
    uvicorn.Server(config).run(sockets=[listening])
