"""T24: whatever happens to a download, in whatever order, what it says and what it keeps stays true."""

from __future__ import annotations

import functools
import hashlib
import sqlite3
import ssl
import tempfile
import threading
from contextlib import closing, suppress
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helpers_sdss import fetch, images, write_catalog
from sdss_server import Server
from sdss_universe import Universe
from skythaw.data.sources.sdss.fetch_state import FETCHED, WAITING, FetchState
from skythaw.data.sources.sdss.missing_reasons import Reason
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.errors import DataError, RemoteError

SKY = {"objects": 8, "seed": 12, "faults": {"outside404": 0.2, "html503": 0.3}}
FAULTS = ["html503", "rate429", "cut", "html200", "outside404", "black200", "wrong_size", "truncated_jpeg", "empty"]


@pytest.fixture(scope="module", autouse=True)
def _certificates_are_read_once():
    """To read the system's takes half the time of a download of eight objects."""
    with mock.patch.object(ssl, "create_default_context", functools.cache(ssl.create_default_context)):
        yield


class Killed(BaseException):
    """Stands for kill -9 inside one process: nothing after it is done. (Real kills: test_sdss_reliability.)"""


class Download(RuleBasedStateMachine):
    """One catalogue of eight objects, fetched again and again."""

    def __init__(self):
        super().__init__()
        self.server = Server({**SKY, "retry_after": "0.001"})
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.folder = tempfile.TemporaryDirectory()
        self.out = Path(self.folder.name) / "a.parquet"
        self.universe = Universe(**SKY)
        self.request = Request(catalog=write_catalog(self.out.with_name("c.csv"), self.universe))

    def teardown(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.folder.cleanup()

    @property
    def state(self):
        return self.out.with_name("a.parquet.sdss")

    def go(self, attempts=3, retry_failed=False):
        try:
            found = fetch(self.out, self.url, self.request, 2, retry_failed, attempts=attempts)
        except (DataError, RemoteError) as error:
            if not ("there is no image to write" in str(error) or "in a row failed" in str(error)):
                raise
            return
        assert found.fetched + sum(found.rejected.values()) == found.asked == 8
        assert set(found.rejected) <= {reason.value for reason in Reason}
        assert len(images(self.out)) == found.fetched

    @rule()
    def download(self):
        self.go()

    @rule()
    def retry_failed(self):
        self.go(retry_failed=True)

    @rule(fault=st.sampled_from([None, *FAULTS]))
    def service_changes(self, fault):
        self.server.sdss.config["image_faults_always"] = fault

    @rule(after=st.integers(0, 8), kept=st.booleans())
    def kill(self, after, kept):
        """In the middle, before or after the image under way is kept."""
        settle, count, lock = FetchState.settle, [0], threading.Lock()

        def dying(state, found):
            with lock:
                count[0] += 1
                number = count[0]
            if number < after or (number == after and kept):
                settle(state, found)
            if number >= after:
                raise Killed

        with mock.patch.object(FetchState, "settle", dying), suppress(Killed):
            self.go(attempts=1)

    @precondition(lambda self: self.state.exists())
    @rule(place=st.integers(1, 8), bit=st.integers(0, 7))
    def corrupt(self, place, bit):
        with closing(sqlite3.connect(self.state)) as db:
            row = db.execute("select bytes from images where place = ?", (place,)).fetchone()
            if row:
                data = bytearray(row[0])
                data[place * 37 % len(data)] ^= 1 << bit
                db.execute("update images set bytes = ? where place = ?", (bytes(data), place))
                db.commit()

    @rule()
    def delete_result(self):
        self.out.unlink(missing_ok=True)

    @rule()
    def delete_state(self):
        for each in self.out.parent.glob("a.parquet.sdss*"):
            each.unlink()

    @precondition(lambda self: self.state.exists())
    @rule()
    def all_is_well_in_the_end(self):
        """With a healthy service, two runs bring everything that there is."""
        self.server.sdss.config["image_faults_always"] = None
        self.go(retry_failed=True)
        self.go()
        assert len(images(self.out)) == sum(map(self.universe.fetchable, range(8)))

    @invariant()
    def every_object_is_accounted_for(self):
        if self.state.exists():
            with closing(sqlite3.connect(self.state)) as db:
                states = [state for (state,) in db.execute("select state from objects")]
                assert len(states) in (0, 8)
                assert set(states) <= {WAITING, FETCHED, *(reason.value for reason in Reason)}
                missing = (
                    "select count(*) from objects left join images using (place) where state = ? and sha256 is null"
                )
                assert db.execute(missing, (FETCHED,)).fetchone() == (0,), "accepted, then missing"

    @invariant()
    def the_result_holds_true_images_only(self):
        if self.out.exists():
            known = {f"o{i:05d}": hashlib.sha256(self.universe.jpeg(i, 64)).hexdigest() for i in range(8)}
            assert all(known[name] == sha256 for name, sha256 in images(self.out).items())


def histories(count):
    """So many of thirty steps each."""
    return settings(
        max_examples=count,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


class TestDownload(Download.TestCase):
    settings = histories(3)


@pytest.mark.soak
class TestManyDownloads(Download.TestCase):
    settings = histories(200)
