"""What every request passes: is it meant for us, may it come in, is it small enough; and what every answer says.

Plain ASGI, so that it sees bytes as they come: a body is cut off at the cap, whatever its headers promise.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Refusal = Callable[[Request, Exception], Awaitable[Response]]
"""makes the answer to a request that was refused"""
COOKIE = "skythaw"
OPEN = ("/health", "/login", "/static/")
"""paths that need no token"""
PATIENCE = 20.0
"""seconds that a body may take to arrive"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Rules:
    """Who may ask, and how much."""

    hosts: frozenset[str] | None
    """names and addresses by which we are called, lower case: a page of another name that resolves to us is refused.
    None takes any, where there is a token, which such a page lacks"""
    largest: int
    """bytes of a body"""
    token: str | None = None
    """that every request must bring; None lets everyone in who reaches us"""

    def knows(self, token: str) -> bool:
        """Whether it is the token; takes as long for a good guess as for a bad one."""
        return self.token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    @property
    def pass_(self) -> str:
        """What the cookie of a browser that brought the token holds: not the token."""
        return hmac.digest((self.token or "").encode(), b"skythaw cookie", hashlib.sha256).hex()


class Guard:
    """The outermost layer of the service."""

    def __init__(self, app: ASGIApp, rules: Rules, refusal: Refusal) -> None:
        self.app, self.rules, self.refusal = app, rules, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        why, send = refused(scope, self.rules), _marked(send)
        if why is not None:
            await (await self.refusal(Request(scope, receive), why))(scope, receive, send)
        else:
            await self.app(scope, _Body(receive, self.rules.largest).receive, send)


def refused(scope: Scope, rules: Rules) -> HTTPException | None:
    """Why a request must not come in, from its head alone."""
    headers, path = Headers(scope=scope), scope["path"]
    if rules.hosts is not None and _name(headers.get("host", "")) not in rules.hosts:
        return HTTPException(421, "this service is not called by that name")
    if rules.token is not None and not path.startswith(OPEN) and not _has_token(headers, rules):
        return HTTPException(401, "a token is needed", {"www-authenticate": "Bearer"})
    return None if scope["method"] in ("GET", "HEAD", "OPTIONS") else _refused_body(headers, rules)


def _refused_body(headers: Headers, rules: Rules) -> HTTPException | None:
    """Why what a request brings is not taken."""
    if not _same_origin(headers):
        return HTTPException(403, "a page of another site must not ask this")
    if headers.get("content-encoding", "identity").lower() != "identity":
        return HTTPException(415, "send it as it is, not compressed")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > rules.largest:
        return HTTPException(413, _too_large(rules.largest))
    return None


class _Body:
    """A request's body, counted and timed as it comes."""

    def __init__(self, receive: Receive, largest: int) -> None:
        self._receive, self._largest, self._read = receive, largest, 0
        self._end: float | None = asyncio.get_running_loop().time() + PATIENCE

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"the request took more than {PATIENCE:g} seconds to arrive") from None
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if not message.get("more_body"):
                self._end = None  # what comes now is the end of the connection, for which there is time
        if self._read > self._largest:
            raise HTTPException(413, _too_large(self._largest))
        return message


def _too_large(largest: int) -> str:
    return f"at most {largest / 1e6:g} MB can be sent at once"


def _marked(send: Send) -> Send:
    """Answers with the headers that keep a browser from being used against its owner."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("content-security-policy", POLICY)
            if message["status"] in (408, 413):
                headers["connection"] = "close"  # what is still to come is not read
        await send(message)

    return marked


def _name(host: str) -> str:
    """A host without its port, lower case."""
    if not set(host).isdisjoint("@/?#"):
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _has_token(headers: Mapping[str, str], rules: Rules) -> bool:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and rules.knows(token.strip()):
        return True
    held = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    return hmac.compare_digest(held.encode(), rules.pass_.encode())


def _same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request that may change something comes from our own page, or from no page at all."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin, host = headers.get("origin"), headers.get("host")
    return origin is None or origin in (f"http://{host}", f"https://{host}")
