"""Fetch every missing image with a few threads. Each image is kept before its thread asks for another."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence

from skythaw.data.sources.sdss.fetch_state import FetchState
from skythaw.data.sources.sdss.frames import fetch_cubes
from skythaw.data.sources.sdss.http_client import Client
from skythaw.data.sources.sdss.image_services import Wanted, fetch_fits, fetch_jpeg
from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.sdss.rate_limit import Stopped
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.data.sources.sdss.state_rows import Target
from skythaw.errors import RemoteError

GIVE_UP = 20
"""requests in a row that fail, each after all its attempts, before the service counts as down"""
Job = Sequence[Target]


def fetch_all(state: FetchState, client: Client, request: Wanted, workers: int) -> Iterator[Target]:
    """Fetch all missing images, and yield each object when it has its image or its reason.

    Raises
    ------
    RemoteError
        `GIVE_UP` requests in a row failed, or the service asks for a long pause; what was fetched is kept.
    """
    fetchers = _Fetchers(state, client, request)
    threads = [threading.Thread(target=fetchers.work, daemon=True) for _ in range(max(1, workers))]
    for thread in threads:
        thread.start()
    try:
        left = len(threads)
        while left:
            found = fetchers.settled.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                left -= 1
            else:
                yield from found
    except BaseException:
        client.stop.set()
        raise
    finally:
        for thread in threads:
            thread.join()


class _Fetchers:
    """The state that the threads share."""

    def __init__(self, state: FetchState, client: Client, request: Wanted) -> None:
        self.state, self.client, self.request = state, client, request
        self.settled: queue.SimpleQueue[Job | BaseException | None] = queue.SimpleQueue()
        """jobs that are done, errors, and None from each thread that ends"""
        self._jobs = _jobs(state.targets(), request)
        self._lock = threading.Lock()
        self._failures = 0

    def work(self) -> None:
        """Fetch until nothing waits: what each thread runs."""
        try:
            while job := self._next():
                found = list(self._fetch(job))
                self.state.settle(found)
                self._watch([image for _, image in found])
                self.settled.put(job)
        except Stopped:
            pass
        except BaseException as error:  # for the main thread to raise
            self.settled.put(error)
        self.settled.put(None)

    def _next(self) -> Job | None:
        if self.client.stop.is_set():
            raise Stopped
        with self._lock:
            return next(self._jobs, None)

    def _fetch(self, job: Job) -> Iterable[tuple[Target, bytes | Fault]]:
        if isinstance(self.request, Request) and _from_frames(self.request):
            return fetch_cubes(self.client, self.request, job)
        fetch = fetch_jpeg if self.request.images == "jpeg" else fetch_fits
        found: list[tuple[Target, bytes | Fault]] = []
        for target in job:
            try:
                found.append((target, fetch(self.client, self.request, target.ra, target.dec)))
            except Fault as fault:
                found.append((target, fault))
        return found

    def _watch(self, images: Sequence[bytes | Fault]) -> None:
        """Give up if the service does nothing but fail."""
        faults = [image for image in images if isinstance(image, Fault)]
        bad = [fault for fault in faults if fault.reason.passes or fault.reason is Reason.REFUSED]
        with self._lock:
            self._failures = self._failures + 1 if len(bad) == len(images) else 0
            if self._failures >= GIVE_UP:
                raise RemoteError(
                    f"{GIVE_UP} requests in a row failed; the last one: {bad[-1].reason.words} ({bad[-1].detail}); "
                    "the same command goes on later"
                )


def _from_frames(request: Wanted) -> bool:
    """Whether images are cut here, from the frames of SDSS."""
    return request.images == "fits" and request.service == "skyserver"


def _jobs(targets: Iterator[Target], request: Wanted) -> Iterator[Job]:
    """The jobs of the threads: one object each, or all objects of a field whose frames are fetched."""
    if not _from_frames(request):
        return ([target] for target in targets)
    return (list(group) for _, group in itertools.groupby(targets, key=lambda target: target.frame))
