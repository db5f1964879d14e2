"""The polite client: its rate, its pauses, where it goes, how often it asks. Against servers on loopback."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import strategies as st

from helpers_sdss import fetch, quick, requests_of, write_catalog
from helpers_soak import fuzz
from sdss_server import serving
from sdss_universe import Universe
from skythaw.data.sources.sdss.fetch_sdss import fetch_sdss
from skythaw.data.sources.sdss.http_client import Client, HttpSettings, seconds_to_wait
from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.sdss.rate_limit import Stopped
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.errors import RemoteError, SpecError

GOOD = (200, {}, b"good")


class Odd(BaseHTTPRequestHandler):
    """Says what the test tells it to; notes when it was asked for what, and by whom."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(OSError):
            super().handle()

    def do_GET(self):
        with self.server.lock:
            number = len(self.server.log)
            self.server.log.append((time.monotonic(), self.path, dict(self.headers)))
        answer = self.server.answer(self.path, number)
        if callable(answer):
            self.close_connection = True
            answer(self.wfile)
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def answering(answer):
    """A server that answers its n-th request for a path with `answer(path, n)`; its address and its log."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.answer, server.log, server.lock = answer, [], threading.Lock()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.log
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def client(url, **http):
    made = Client(quick(url, **{"timeout": 2, **http}))
    try:
        yield made
    finally:
        made.close()


def get(one, path="/a", **query):
    return one.get(f"https://skyserver.sdss.org{path}", query, 1000, bytes)


def arrivals(log):
    return sorted(moment for moment, _, _ in log)


@pytest.mark.parametrize(("rate", "runs"), [(40, [30, 30]), (6, [1] * 8)])
def test_the_rate_is_kept_by_all_threads_together_and_by_the_runs_after(rate, runs):
    start = time.monotonic()
    with answering(lambda *_: GOOD) as (url, log):
        for number in runs:
            with client(url, rate=rate) as one, ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda _, one=one: get(one), range(number)))
    times = arrivals(log)
    assert len(times) == sum(runs)
    for count, moment in enumerate(times, 1):
        assert count <= rate * (moment - start), "a new client is not a new beginning"
    for window in (0.25, 0.5, 1):
        most = max(sum(first <= t < first + window for t in times) for first in times)
        assert most <= rate * window + 6, "six: what a busy machine may delay"


def test_the_log_of_the_service_shows_the_rate_of_a_whole_run(tmp_path):
    sky = {"objects": 60, "seed": 3, "faults": {"html503": 0.2, "cut": 0.2}, "log": str(tmp_path / "log")}
    catalog = write_catalog(tmp_path / "c.csv", Universe(60, 3))
    start = time.time()
    with serving(sky) as url:
        fetch(tmp_path / "a.parquet", url, Request(catalog=catalog), workers=6, rate=50)
    times = sorted(line["t"] for line in requests_of(tmp_path / "log"))
    assert len(times) > 70, "faults are asked for again"
    assert all(count <= 50 * (moment - start) for count, moment in enumerate(times, 1))


@pytest.mark.soak
@pytest.mark.parametrize("form", ["seconds", "date", "missing"])
def test_nobody_sends_anything_in_the_pause_that_one_was_told(form):
    told, pause = [], {"seconds": 1.5, "date": 1.0, "missing": 1.2}[form]

    def answer(_, number):
        if number != 12:
            return GOOD
        told.append(time.monotonic())
        wishes = {"seconds": {"Retry-After": "1.5"}, "date": {"Retry-After": formatdate(time.time() + 2, usegmt=True)}}
        return 429, wishes.get(form, {}), b"Too Many Requests"

    with answering(answer) as (url, log), client(url, rate=100, backoff=0.02) as one, ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: get(one), range(60))) == [b"good"] * 60
    within = [moment for moment in arrivals(log) if told[0] < moment < told[0] + pause]
    assert len(within) <= 12, "those that were on their way"
    assert all(moment < told[0] + pause / 2 for moment in within)
    assert len(log) == 61


def test_a_pause_is_for_all_kinds_of_answers_that_ask_for_one():
    busy = (503, {"Retry-After": "1"}, b"")
    with answering(lambda _, n: GOOD if n else busy) as (url, log), client(url) as one:
        assert get(one) == b"good"
    assert arrivals(log)[1] - arrivals(log)[0] >= 1


@pytest.mark.parametrize(
    "wish", [lambda: "3600", lambda: formatdate(time.time() + 3630, usegmt=True)], ids=["s", "date"]
)
def test_a_pause_of_an_hour_ends_the_run_with_its_minutes(wish):
    wish = wish()  # the date is an hour from now, not from when the tests were collected
    with answering(lambda *_: (429, {"Retry-After": wish}, b"")) as (url, log), client(url) as one:
        with pytest.raises(RemoteError, match=r"pause of (59|60) minutes; the same command goes on then"):
            get(one)
        assert len(log) == 1


def test_manners_may_be_used_again_after_a_run_that_ended_early(tmp_path):
    sky = {"objects": 10, "seed": 3, "faults": {"rate429": 0.5}, "retry_after": "3600"}
    request = Request(catalog=write_catalog(tmp_path / "c.csv", Universe(10, 3)))
    with serving(sky) as url:
        http = quick(url)
        for _ in range(10):  # each fault comes once
            with contextlib.suppress(RemoteError):
                assert fetch_sdss(tmp_path / "a.parquet", request, http).fetched == 10
                return
    raise AssertionError("never done")


def test_who_waits_is_woken_by_the_end_of_the_run():
    busy = (429, {"Retry-After": "800"}, b"")
    with answering(lambda *_: busy) as (url, log), client(url) as one, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(get, one) for _ in range(4)]
        while not log:
            time.sleep(0.01)
        one.stop.set()
        assert all(isinstance(each.exception(timeout=30), Stopped) for each in waiting)


@pytest.mark.parametrize(("contact", "said"), [("me@example.org", "me@example.org"), (None, "not given")])
def test_the_service_is_told_who_asks(contact, said):
    with answering(lambda *_: GOOD) as (url, log), client(url, contact=contact) as one:
        get(one)
    assert re.fullmatch(rf"skythaw/\S+ \(contact: {said}\)", log[0][2]["User-Agent"])
    assert log[0][2]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    "target",
    ["http://192.0.2.1/x", "//192.0.2.1/x", "file:///etc/passwd", "ftp://{host}/x", "http://me@{host}/x",
     "http://127.0.0.1:1/x", "http://[", "", "javascript:alert(1)", "/a"],
)  # fmt: skip
def test_redirects_elsewhere_or_for_ever_are_refused(target):
    def answer(*_):
        return 302, {"Location": target.format(host=url.split("/")[-1])}, b""

    with answering(answer) as (url, log), client(url) as one, pytest.raises(Fault) as fault:
        get(one)
    assert fault.value.reason in (Reason.REDIRECTED, Reason.REFUSED)
    assert {path for _, path, _ in log} == {"/a"}, "nothing else was asked"
    assert len(log) == (4 if target in ("", "/a") else 1), "and none of it again"


@pytest.mark.parametrize("target", ["/b", "b", "{url}/b?x=1"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_inside_the_host_are_followed(target, status):
    def answer(path, _):
        return GOOD if path.startswith("/b") else (status, {"Location": target.format(url=url)}, b"")

    with answering(answer) as (url, log), client(url) as one:
        assert get(one) == b"good"
        assert len(log) == 2


@pytest.mark.parametrize("prefix", ["", "/", "/mirror", "/mirror/of/sdss/"])
def test_base_url_takes_the_place_of_scheme_and_host(prefix):
    with answering(lambda *_: GOOD) as (url, log), client(url + prefix) as one:
        get(one, "/dr17/SkyServerWS/getjpeg", ra="1.5", query="a b&c=d#e")
    path = "/dr17/SkyServerWS/getjpeg?ra=1.5&query=a%20b%26c%3Dd%23e"
    assert log[0][1] == prefix.rstrip("/") + path


@pytest.mark.parametrize(
    "bad",
    [{"rate": 0}, {"rate": -1}, {"rate": float("nan")}, {"rate": 1e-320}, {"timeout": 0}, {"timeout": float("inf")},
     {"attempts": 0}, {"base_url": "localhost:80"}, {"base_url": "//host"}, {"base_url": "file:///etc"},
     {"base_url": "http://"}, {"base_url": "http://[x"}, {"contact": "a\nX-Evil: 1"}, {"contact": "a\r"},
     {"contact": "m\u00fcller"}],
    ids=repr,
)  # fmt: skip
def test_bad_manners_are_refused(bad):
    with pytest.raises(SpecError, match=next(iter(bad)).replace("base_url", "base URL")):
        HttpSettings(**bad)


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_a_fault_that_lasts_is_asked_as_often_as_was_said(attempts):
    down = (503, {}, b"<h1>No server</h1>")
    with (
        answering(lambda *_: down) as (url, log),
        client(url, attempts=attempts) as one,
        pytest.raises(Fault, match="status 503: No server") as fault,
    ):
        get(one)
    assert (fault.value.reason, len(log)) == (Reason.UNAVAILABLE, attempts)


def cut(file):
    file.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


@pytest.mark.soak
@pytest.mark.parametrize(
    "fault",
    [(500, {}, b""), (502, {}, b""), (503, {}, b""), (504, {}, b""), (408, {}, b""), (429, {"Retry-After": "0"}, b""),
     cut, lambda file: None, lambda file: file.write(b"hello\r\n\r\n"), lambda file: time.sleep(6)],
    ids=["500", "502", "503", "504", "408", "429", "cut", "closed", "no_http", "hang"],
)  # fmt: skip
def test_faults_that_pass_are_tried_again(fault):
    with answering(lambda _, n: fault if n < 2 else GOOD) as (url, log), client(url, timeout=2) as one:
        assert get(one) == b"good"
        assert len(log) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [((400, {}, b""), "refused"), ((401, {}, b""), "refused"), ((403, {}, b""), "refused"), ((410, {}, b""), "refused"),
     ((404, {}, b""), "outside"), ((304, {}, b""), "refused"), ((200, {}, bytes(1001)), "too_large"),
     ((500, {}, b'{"ErrorMessage": "Invalid column name \'x\'."}'), "refused")],
)  # fmt: skip
def test_faults_that_last_are_asked_once(answer, reason):
    with answering(lambda *_: answer) as (url, log), client(url) as one, pytest.raises(Fault) as fault:
        get(one)
    assert fault.value.reason == reason
    assert len(log) == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Busy"], ids=["good", "error"])
def test_an_answer_that_drips_is_cut_off_at_the_timeout(head):
    dripped = []

    def drip(file):
        file.write(head + b"\r\nContent-Length: 400\r\n\r\n")
        for _ in range(400):
            file.write(b"x")
            dripped.append(1)
            time.sleep(0.05)

    with (
        answering(lambda *_: drip) as (url, _),
        client(url, timeout=0.5, attempts=1) as one,
        pytest.raises(Fault) as fault,
    ):
        get(one)
    assert fault.value.reason in (Reason.TIMEOUT, Reason.UNAVAILABLE)
    assert len(dripped) < 200


NUMBERS = st.from_regex(r"[-+]?\d+(\.\d*)?([eE]\d+)?")
DATES = st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d [-+]?\w{1,6}")


@pytest.mark.parametrize("hours", [-30, 0, 30])
def test_a_clock_that_is_wrong_does_not_change_the_pause(hours):
    """Set back, or never set: the service's own date tells what its other one means."""
    now = datetime.now(UTC) + timedelta(hours=hours)
    wish, date = format_datetime(now + timedelta(seconds=7)), format_datetime(now)
    assert seconds_to_wait(wish, date) == 7
    assert seconds_to_wait(wish, "nonsense") == pytest.approx(max(0, 3600 * hours + 7), abs=3)


def test_blanks_of_any_kind_beside_a_number_are_no_part_of_it():
    assert seconds_to_wait("0\x1f") == 0
    assert seconds_to_wait("\u2003 12.5\t") == 12.5


@fuzz(1000, st.one_of(st.text(), DATES, NUMBERS, st.datetimes().map(lambda t: t.ctime())))
def test_whatever_retry_after_says_it_is_a_time_or_nothing(text):
    seconds = seconds_to_wait(text)
    assert seconds is None or seconds >= 0
