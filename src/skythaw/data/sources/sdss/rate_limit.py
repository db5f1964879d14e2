"""The rate of requests: one clock for all threads, so that the rate is kept whatever the service does."""

from __future__ import annotations

import threading
import time

SLACK = 1.02
"""factor by which requests are further apart than the rate allows, because the network may delay one of two"""


class RateLimit:
    """Gives out moments at which a request may be sent."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self.stop = stop
        self._step = SLACK / rate
        self._lock = threading.Lock()
        self._next = time.monotonic() + self._step  # the run before may have sent one just now
        self._resume = 0.0

    def wait(self) -> None:
        """Wait until this thread may send a request, or until it is told to stop.

        Raises
        ------
        Stopped
            `stop` is set.
        """
        while True:
            with self._lock:
                now = time.monotonic()
                moment = max(now, self._next, self._resume)
                self._next = moment + self._step
            self.sleep(moment - now)
            if moment >= self._resume:  # else told to pause meanwhile: take a later moment
                return

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake and raise `Stopped` when told to stop."""
        if self.stop.wait(max(0.0, seconds)):
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Let no thread send a request for some seconds."""
        with self._lock:
            self._resume = max(self._resume, time.monotonic() + seconds)


class Stopped(Exception):  # noqa: N818 (a signal between our own threads)
    """The run is being stopped."""
