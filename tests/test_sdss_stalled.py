"""`--timeout` is the time for one whole answer, whatever a service sends; and nobody else waits for it."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import time

import pytest
from PIL import Image

from helpers_sdss import fetch, write_catalog
from sdss_universe import Universe
from skythaw.data.sources.sdss.fetch_state import FORMAT, FetchState
from skythaw.data.sources.sdss.http_client import Client, HttpSettings
from skythaw.data.sources.sdss.image_services import checked_jpeg
from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.errors import DataError

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
STALLS = {
    "nothing": (b"", b""),
    "a head": (b"HTTP/1.1 200 OK\r\nX-Pad: ", b"a"),
    "many heads": (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", b"x"),
    "an error": (b"HTTP/1.1 404 No\r\nContent-Length: 4000\r\n\r\n", b"x"),
    "a chunk's extension": (CHUNKED + b"1;", b"e"),
    "small chunks": (CHUNKED, b"1\r\nx\r\n"),
    "a trailer": (CHUNKED + b"0\r\nX: ", b"a"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "103 Early Hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
}


@contextlib.contextmanager
def dripping(start, drop):
    """A server that sends `start`, and then `drop` for ever, but a whole answer to requests for /good."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    over = threading.Event()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            while request := connection.recv(65536):
                if b"/good" in request:
                    connection.sendall(WHOLE)
                    continue
                connection.sendall(start)
                while not over.wait(0.02):
                    connection.sendall(drop)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.mark.soak
@pytest.mark.parametrize("kind", STALLS)
def test_an_answer_that_never_ends_is_over_in_time_and_others_go_on(kind):
    with dripping(*STALLS[kind]) as url:
        one = Client(HttpSettings(rate=1000, timeout=0.5, attempts=1, base_url=url, backoff=0.01))
        slow = [threading.Thread(target=lambda: ends.append(fault_of(one))) for _ in range(3)]
        ends: list[Fault] = []
        for each in slow:
            each.start()
        try:
            start = time.monotonic()
            assert all(one.get("https://x.org/good", {}, 100, bytes) == b"good" for _ in range(5))
            quick = time.monotonic() - start
            for each in slow:
                each.join(20)
            assert not any(each.is_alive() for each in slow)
        finally:
            one.close()
    wanted = Reason.OUTSIDE if kind == "an error" else Reason.TIMEOUT
    accepted = {wanted, Reason.TRUNCATED} if kind == "many heads" else {wanted}
    assert {fault.reason for fault in ends} <= accepted
    assert len(ends) == 3
    assert quick < 20, "nobody waited for the end of the others"


def fault_of(client):
    try:
        client.get("https://x.org/slow", {}, 1000, bytes)
    except Fault as fault:
        return fault
    raise AssertionError("an answer")


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_of_other_colours_is_no_image_of_sdss(mode, tmp_path):
    request = Request(catalog=tmp_path / "c.csv", size=64)
    for kind, accepted in (("RGB", True), (mode, False)):
        Image.effect_noise((64, 64), 80).convert(kind).save(tmp_path / "one.jpg", "JPEG")
        data = (tmp_path / "one.jpg").read_bytes()
        if accepted:
            assert checked_jpeg(data, request) == data
        else:
            with pytest.raises(Fault, match=f"a JPEG of the kind {mode}") as found:
                checked_jpeg(data, request)
            assert found.value.reason is Reason.NOT_AN_IMAGE


@pytest.fixture
def state(tmp_path):
    """A state file with objects and images, closed."""
    from sdss_server import serving

    sky = {"objects": 12, "seed": 3}
    with serving(sky) as url:
        fetch(tmp_path / "a.parquet", url, Request(catalog=write_catalog(tmp_path / "c.csv", Universe(**sky))))
    return tmp_path / "a.parquet.sdss"


def altered(path, statement, *values):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("update objects set object_id = cast(? as text) where place = 3", b"\xff\xfe\x80"),
        ("update objects set extra = ? where place = 3", "{no json"),
        ("update objects set ra = ra + ? where place = 3", 1e-9),
        ("update objects set label = ? where place = 3", "QSO2"),
        ("update about set value = ? where name = 'request'", "[1, "),
    ],
)
def test_a_state_that_is_damaged_inside_a_row_says_so(state, statement, value):
    altered(state, statement, value)
    with pytest.raises(DataError, match=r"a.parquet.sdss is damaged \(.*\); delete it to begin again"):
        read_all(state)


def test_a_state_of_a_newer_format_is_refused(state):
    altered(state, "update about set value = ? where name = 'format'", str(FORMAT + 1))
    with pytest.raises(DataError, match=f"another version of skythaw .format {FORMAT + 1}, here {FORMAT}"):
        FetchState(state)
    altered(state, "update about set value = ? where name = 'format'", str(FORMAT))
    assert read_all(state) == 12


def read_all(path):
    one = FetchState(path)
    try:
        one.bind(one.get("request"))
        one.mend()
        list(one.outcomes())
        return len(list(one.fetched()))
    finally:
        one.close()
