"""Answers that are made to harm: each hostile object gets a fitting reason, all others come, memory stays low."""

from __future__ import annotations

import bz2
import contextlib
import io
import json
import math
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from helpers_sdss import fetch, images, requests_of, write_catalog
from helpers_soak import fuzz, soak
from sdss_server import HOSTILE, SQL_FAULTS, serving
from sdss_sql import Sql
from sdss_universe import Universe, fits_bytes
from skythaw.data.cutouts import read_cutouts
from skythaw.data.decode import decode
from skythaw.data.sources.sdss import spectra_query
from skythaw.data.sources.sdss.fetch_state import FetchState
from skythaw.data.sources.sdss.missing_reasons import Fault, Reason
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.errors import DataError, RemoteError

FITS_HOSTILE = ("bz2_bomb", "gzip_bomb", "html200", "redirect_host", "redirect_loop", "endless", "wrong_size", "empty")
SUITS = {
    "gzip_bomb": {"not_an_image"},
    "bz2_bomb": {"not_an_image"},
    "endless": {"too_large", "timeout"},
    "redirect_host": {"redirected"},
    "redirect_file": {"redirected"},
    "redirect_loop": {"redirected"},
    "html200": {"not_an_image"},
    "wrong_size": {"wrong_size"},
    "jpeg404": {"outside"},
    "huge_header": {"truncated", "connection"},
    "many_headers": {"truncated", "connection", "fetched"},  # by how the network cuts them, and harmless
    "slow": {"timeout"},
    "png": {"not_an_image"},
    "truncated_jpeg": {"truncated"},
    "bad_length": {"truncated", "connection"},
    "message500": {"unavailable"},
    "svg": {"not_an_image"},
    "empty": {"not_an_image"},
}
PATIENT = ("--rate", 500, "--workers", 4, "--timeout", 2, "--attempts", 2)


def run(out, url, *options):
    """The command in a process of its own: its exit code, what it wrote, and the most memory it had, in bytes."""
    command = [sys.executable, "-m", "skythaw", "data", "sdss", out, "--base-url", url, *PATIENT, *options]
    most = 0
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:  # `ru_maxrss` would count what this process had when it forked
            with contextlib.suppress(OSError):
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
                most = max(most, int(found[1]) * 1024) if found else most
            time.sleep(0.01)
        return process.returncode, process.stdout.read(), process.stderr.read(), most


def reasons(out):
    """Reason of every object without an image."""
    state = FetchState(out.with_name(out.name + ".sdss"))
    try:
        return {name: reason for name, reason, _ in state.failed()}
    finally:
        state.close()


@pytest.mark.soak
def test_every_hostile_image_gets_its_reason_and_all_others_are_fetched(tmp_path):
    hostile = {3 * i + 1: kind for i, kind in enumerate(HOSTILE)}
    sky = {"objects": 70, "seed": 5, "hostile": hostile}
    universe, out = Universe(**sky), tmp_path / "a.parquet"
    catalog = write_catalog(tmp_path / "c.csv", universe)
    with serving(sky) as url:
        code, text, errors, memory = run(out, url, "--catalog", catalog, "--json")
    assert code == 0, errors
    found = reasons(out)
    assert json.loads(text)["fetched"] == 70 - len(found)
    assert set(found) <= {f"o{i:05d}" for i in hostile}, "all others are there"
    odd = {kind: found.get(f"o{i:05d}", "fetched") for i, kind in hostile.items()}
    assert {kind: reason for kind, reason in odd.items() if reason not in SUITS[kind]} == {}
    assert set(found.values()) <= {reason.value for reason in Reason}
    for name, data, _ in read_cutouts(out).images():
        assert data == universe.jpeg(int(name[1:]), 64)
    assert memory < 500e6


def test_hostile_frames_cost_their_field_and_no_memory(tmp_path):
    universe = Universe(400, 6)
    fields = {kind: int(universe.members[k][0]) for k, kind in enumerate(FITS_HOSTILE)}
    sky = {"objects": 400, "seed": 6, "hostile": {index: kind for kind, index in fields.items()}}
    universe, out = Universe(**sky), tmp_path / "a.parquet"
    of = [(r["run"], r["camcol"], r["field"]) for r in universe.rows]
    chosen = [i for i, field in enumerate(of) if universe.frame_hostile(*field)][:90]
    chosen += [i for i, field in enumerate(of) if not universe.frame_hostile(*field)][:20]
    catalog = write_catalog(tmp_path / "c.csv", universe, sorted({*chosen, *fields.values()}))
    with serving(sky) as url:
        options = ("--images", "fits", "--bands", "gr", "--timeout", 20)  # frames are large, and machines busy
        code, _, errors, memory = run(out, url, "--catalog", catalog, *options)
    assert code == 0, errors
    found = reasons(out)
    assert found[f"o{fields['bz2_bomb']:05d}"] == "too_large"
    assert found[f"o{fields['gzip_bomb']:05d}"] == "not_an_image"
    assert found[f"o{fields['wrong_size']:05d}"] in ("black", "wrong_size")
    assert {found[f"o{fields[kind]:05d}"] for kind in ("redirect_host", "redirect_loop")} == {"redirected"}
    assert all(f"o{index:05d}" in found for index in fields.values())
    got = list(read_cutouts(out).images())
    assert got
    for name, data, _ in got:
        assert universe.frame_hostile(*of[int(name[1:])]) is None
        assert decode(data, name).shape == (64, 64, 2)
    assert memory < 500e6


@contextlib.contextmanager
def always(body):
    """A server that has one answer to everything."""

    class Same(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Same)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


GOOD = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 1.0, "CRVAL2": 2.0, "CRPIX1": 9.0, "CRPIX2": 9.0,
        "CD1_1": 1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4}  # fmt: skip


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {**GOOD, "CD1_1": 0.0},
        {**GOOD, "CD1_1": 1e-300},
        {**GOOD, "CTYPE1": "GLON-TAN"},
        {**GOOD, "CTYPE1": "FREQ"},
        {**GOOD, "CRVAL2": 1e300},
        {**GOOD, "CRPIX1": 1e300},
        {"CTYPE1": "RA---XYZ"},
    ],
    ids=["none", "singular", "tiny", "half", "freq", "crval", "crpix", "odd"],
)
def test_a_frame_that_says_nonsense_of_the_sky_is_a_fault_and_no_crash(cards, tmp_path):
    catalog = write_catalog(tmp_path / "c.csv", Universe(20, 5))
    request = Request(catalog=catalog, images="fits", bands=("g",))
    body = bz2.compress(fits_bytes(np.ones((64, 64), np.float32), cards))
    with always(body) as url, pytest.raises((DataError, RemoteError), match=r"no image|in a row"):
        fetch(tmp_path / "a.parquet", url, request, attempts=1)
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.soak
@pytest.mark.parametrize("fault", [fault for fault in SQL_FAULTS if fault != "error_table"])
def test_a_fault_of_the_query_service_is_recovered_from(fault, tmp_path):
    sky = {"objects": 200, "seed": 7, "sql_faults": [fault, fault]}
    with serving({**sky, "hang_seconds": 3}) as url:
        outcome = fetch(tmp_path / "a.parquet", url, Request(total=15), timeout=1)
    assert outcome.fetched == 15


def test_too_many_queries_a_minute_are_recovered_from(tmp_path):
    with serving({"objects": 200, "seed": 7, "sql_faults": ["error_table"]}) as url:
        assert fetch(tmp_path / "a.parquet", url, Request(total=15)).fetched == 15


@pytest.mark.parametrize("fault", soak(["hang", "html200", "cut", "bad_id", "endless"]))
def test_a_query_service_that_never_recovers_ends_the_command_with_one_line(fault, tmp_path):
    out = tmp_path / "a.parquet"
    sky = {"objects": 200, "seed": 7, "sql_faults": [fault] * 50, "hang_seconds": 3}
    with serving(sky) as url:
        code, _, errors, memory = run(out, url, "--total", 5, "--timeout", 0.5)
    assert code == 2
    lines = [line for line in re.split(r"[\r\n]", errors) if line.strip()]
    assert lines[-1].startswith("error: SkyServer, DR17, to a query: ")
    assert len([line for line in lines if "error" in line]) == 1
    assert "Traceback" not in errors
    assert not out.exists()
    assert memory < 500e6


def test_positions_off_the_sky_are_never_sent(tmp_path):
    sky = {"objects": 20, "seed": 5, "log": str(tmp_path / "log")}
    universe = Universe(20, 5)
    good = universe.rows[0]
    bad = ["nan,1", "1,nan", "inf,1", "1,-inf", "720,1", "-360.001,1", "1,90.5", "1,-90.001", ",1", "1,", "1e300,1",
           "3600,0", "1,1e9", "null,1"]  # fmt: skip
    rows = [f"b{k},{place}" for k, place in enumerate(bad)]
    good = f"good,{good['photoRa']!r},{good['photoDec']!r}"
    catalog = tmp_path / "c.csv"
    catalog.write_text("\n".join(["id,ra,dec", *rows, good]) + "\n")
    with serving(sky) as url:
        outcome = fetch(tmp_path / "a.parquet", url, Request(catalog=catalog), retry_failed=True)
    assert outcome.rejected == {"bad_position": len(bad)}
    assert list(images(tmp_path / "a.parquet")) == ["good"]
    assert len(requests_of(tmp_path / "log")) == 1


REPLY = Sql(Universe(12, 4)).answer(
    spectra_query.slice_query(spectra_query.CLASSES, 0, spectra_query.Limits()).replace("AND 255", "AND 65535")
).csv().encode()  # fmt: skip
HEAD = b"#Table1\n" + ",".join(spectra_query.HEADER).encode() + b"\n"
CELL = st.one_of(st.integers().map(str), st.floats().map(str), st.sampled_from(["GALAXY", "0", "26", "", '"', "v5_1"]),
                 st.text(max_size=8))  # fmt: skip


@st.composite
def mutated(draw):
    """A good reply with a few bytes changed, cut, or doubled."""
    data = bytearray(REPLY)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        piece = draw(st.one_of(st.binary(max_size=6), st.just(b'"' + b"9" * 140_000), st.just(b"9" * 30)))
        data[at : at + draw(st.sampled_from([0, 1, 1, 5, 300]))] = piece
    return bytes(data)


@fuzz(
    1000,
    st.one_of(
        st.binary(),
        st.binary().map(lambda data: HEAD + data + b"\n"),
        mutated(),
        st.lists(CELL, min_size=len(spectra_query.HEADER), max_size=len(spectra_query.HEADER)).map(
            lambda row: HEAD + ",".join(row).encode() + b"\n"
        ),
    ),
    st.sampled_from([17, 18]),
)
def test_whatever_the_reply_it_is_a_table_or_a_fault(data, release):
    with contextlib.suppress(Fault):
        list(spectra_query.read_table(data)[1])
    with contextlib.suppress(Fault):
        for row in spectra_query.read_slice(data, spectra_query.CLASSES, release):
            numbers = [value for value in row.values() if isinstance(value, (int, float))]
            assert all(math.isfinite(value) and (isinstance(value, float) or abs(value) < 2**63) for value in numbers)
            assert row["class"] in spectra_query.CLASSES
            assert row["specObjID"].isdecimal()
            io.StringIO().write(json.dumps(row, allow_nan=False))
