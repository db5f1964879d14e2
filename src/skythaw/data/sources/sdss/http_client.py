"""Ask the services of SDSS over HTTP: at a given rate for all threads together, again after faults that may pass.

One answer has one limit of time, from the name of the host to the last byte. An endless head, endless parts of a body
and endless remarks that the answer is yet to come are all over at its end, and hold up nobody else meanwhile.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
import tenacity

from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.sdss.rate_limit import RateLimit
from skythaw.errors import RemoteError, SpecError
from skythaw.machine.loop_thread import LoopThread
from skythaw.machine.package_version import version_of

T = TypeVar("T")
LONGEST_PAUSE = 900.0
"""seconds; a service that asks for a longer one is left alone: the user may go on later"""
REDIRECTS = 3
LONGEST_GIST = 4096
"""bytes that are read of an answer that reports an error"""
CLOSING = 5.0
"""seconds in which connections are to close"""
STATUSES = {404: Reason.OUTSIDE, 408: Reason.TIMEOUT, 429: Reason.RATE_LIMITED}
OUR_FAULT = re.compile(r"Invalid (column|object) name|Incorrect syntax|could not be bound|Conversion failed")
"""What SQL Server says, with status 500, of a query that will never work."""


@dataclass(frozen=True)
class HttpSettings:
    """How the services are asked. Nothing here decides what comes back."""

    rate: float = 1.0
    """requests per second, of all threads together"""
    timeout: float = 60.0
    """seconds for one whole answer"""
    attempts: int = 5
    """how often a request is sent before its fault is taken for the answer"""
    contact: str | None = None
    """an e-mail address or a web page of the user, told to the service"""
    base_url: str | None = None
    """replaces the scheme and host of every service"""
    backoff: float = 1.0
    """seconds; the longest wait after the first fault. It doubles with each fault, up to 60"""

    def __post_init__(self) -> None:
        for name, least, most in (("rate", 1e-4, 1e6), ("timeout", 1e-3, 1e6), ("attempts", 1, 1e6)):
            if not least <= getattr(self, name) <= most:
                raise SpecError(f"{name} = {getattr(self, name)} should be {least:g} to {most:g}")
        try:
            parts = urlsplit(self.base_url or "https://example.org")
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise SpecError(f"base URL {self.base_url!r} should be such as https://mirror.example.org")
        if self.contact and not (self.contact.isascii() and self.contact.isprintable()):
            raise SpecError(f"contact {self.contact!r} should be an e-mail address or a web page, in plain letters")


class Client:
    """Fetches whole answers. Safe in several threads."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self.stop = threading.Event()
        """when it is set, no request is sent any more, and threads that wait to send one get `Stopped`"""
        self._pace = RateLimit(settings.rate, self.stop)
        agent = f"skythaw/{version_of('skythaw')} (contact: {settings.contact or 'not given'})"
        self._thread = LoopThread()
        self._http = httpx.AsyncClient(
            timeout=settings.timeout,
            headers={"User-Agent": agent, "Accept-Encoding": "identity"},
            follow_redirects=False,
        )

    def close(self) -> None:
        """Close all connections."""
        with suppress(TimeoutError, OSError):
            self._thread.run(self._http.aclose(), CLOSING)
        self._thread.close()

    def get(self, url: str, query: dict[str, str], largest: int, check: Callable[[bytes], T]) -> T:
        """What `check` makes of the body of the answer, which is whole and has status 200.

        After a fault that may pass, the request is sent again, after a random wait whose limit doubles each time. A
        pause that the service asks for (`Retry-After`) holds for all threads.

        Parameters
        ----------
        url
            of the service, without its query
        query
            its parameters
        largest
            bytes; more is a fault
        check
            raises `Fault` if the body is not what was asked for

        Raises
        ------
        Fault
            No attempt gave such an answer.
        RemoteError
            The service asks for a pause of more than `LONGEST_PAUSE`.
        """
        address = self._address(url, query)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.settings.attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, Fault) and e.reason.passes),
            sleep=self._pace.sleep,
            reraise=True,
        )
        return retrying(self._attempt, address, largest, check)

    def _attempt(self, address: str, largest: int, check: Callable[[bytes], T]) -> T:
        """Send one request; a pause that a fault asks for holds for all threads."""
        try:
            return check(self._once(address, largest))
        except Fault as fault:
            pause = fault.pause
            if pause is None and fault.reason is Reason.RATE_LIMITED:
                pause = 60 * self.settings.backoff
            if (pause or 0) > LONGEST_PAUSE:
                raise RemoteError(
                    f"the service asks for a pause of {(pause or 0) / 60:.0f} minutes; the same command goes on then"
                ) from None
            self._pace.pause(pause or 0)
            raise

    def _wait(self, state: tenacity.RetryCallState) -> float:
        return random.uniform(0, min(60.0, self.settings.backoff * 2 ** (state.attempt_number - 1)))

    def _address(self, url: str, query: dict[str, str]) -> str:
        parts = urlsplit(url)
        if self.settings.base_url:
            base = urlsplit(self.settings.base_url)
            parts = parts._replace(scheme=base.scheme, netloc=base.netloc, path=base.path.rstrip("/") + parts.path)
        text = "&".join(f"{name}={quote(value, safe='(),*/:')}" for name, value in query.items())
        return urlunsplit(parts._replace(query=text))

    def _once(self, address: str, largest: int) -> bytes:
        """Send one request, and follow redirects inside its host."""
        for _ in range(REDIRECTS + 1):
            self._pace.wait()
            try:
                answer = self._thread.run(self._exchange(address, largest), self.settings.timeout)
            except (httpx.TimeoutException, TimeoutError):
                raise Fault(Reason.TIMEOUT, f"no answer within {self.settings.timeout:g} s") from None
            except httpx.RemoteProtocolError as error:
                raise Fault(Reason.TRUNCATED, f"the answer broke off or is no HTTP: {error}") from None
            except (httpx.TransportError, OSError) as error:
                raise Fault(Reason.CONNECTION, f"{type(error).__name__}: {error}") from None
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                raise Fault(Reason.REFUSED, f"{type(error).__name__}: {error}") from None
            if isinstance(answer, bytes):
                return answer
            address = answer
        raise Fault(Reason.REDIRECTED, f"redirected more than {REDIRECTS} times")

    async def _exchange(self, address: str, largest: int) -> bytes | str:
        """The body of one answer, or where it sends us inside its host."""
        async with self._http.stream("GET", address) as answer:
            if answer.has_redirect_location:
                return _inside(address, answer.headers.get("location", ""))
            if answer.status_code != 200:
                pause = seconds_to_wait(answer.headers.get("retry-after"), answer.headers.get("date"))
                gist = await _gist_of(answer, self.settings.timeout / 2)
                ours = answer.status_code < 500 or OUR_FAULT.search(gist)
                reason = STATUSES.get(answer.status_code, Reason.REFUSED if ours else Reason.UNAVAILABLE)
                raise Fault(reason, f"status {answer.status_code}: {gist}", pause)
            return await _body(answer, largest)


async def _body(answer: httpx.Response, largest: int) -> bytes:
    """Read to the end, but no more than `largest` bytes."""
    if (coding := answer.headers.get("content-encoding", "identity")) != "identity":
        raise Fault(Reason.NOT_AN_IMAGE, f"an answer in the coding {coding!r}, which was not asked for")
    parts, size = [], 0
    async for part in answer.aiter_raw():
        parts.append(part)
        size += len(part)
        if size > largest:
            raise Fault(Reason.TOO_LARGE, f"more than {largest} bytes")
    return b"".join(parts)


async def _gist_of(answer: httpx.Response, seconds: float) -> str:
    """The beginning of an answer that reports an error, as far as it comes within these seconds."""
    body = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for part in answer.aiter_raw():
                body += part
                if len(body) >= LONGEST_GIST:
                    break
    return _gist(body)


def _inside(address: str, target: str) -> str:
    """Where a redirect leads, if that is on the same host, with the same scheme or https."""
    old, new = urlsplit(address), urlsplit(str(httpx.URL(address).join(target)))
    if new.netloc != old.netloc or new.scheme not in {old.scheme, "https"}:
        raise Fault(Reason.REDIRECTED, f"redirected to {target[:100]!r}")
    return urlunsplit(new)


def seconds_to_wait(wish: str | None, now: str | None = None) -> float | None:
    """What `Retry-After` asks for: seconds, or until a date; None without it.

    `now` is the date of the answer: a date of the service is compared with its own clock, for ours may be wrong.
    """
    if not wish:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", bare := wish.strip()):
        return float(bare)  # which knows fewer kinds of blanks than `strip`
    try:
        until = email.utils.parsedate_to_datetime(wish).timestamp()
        with suppress(ValueError, TypeError, OverflowError):
            return max(0.0, until - email.utils.parsedate_to_datetime(now or "").timestamp())
        return max(0.0, until - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _gist(body: bytes) -> str:
    """The error that an answer reports, in one printable line: the service's own message, or how the answer begins."""
    text = body[:LONGEST_GIST].decode("utf-8", "replace")
    try:
        text = str(json.loads(text)["ErrorMessage"])
    except (ValueError, KeyError, TypeError):
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200] or "(nothing)"
