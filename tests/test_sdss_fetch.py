"""From a request to a file, against a server that answers as SDSS does: what is fetched, resumed, refused."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from helpers_sdss import fetch, images, requests_of, truth, write_catalog
from sdss_server import serving
from sdss_universe import Universe
from skythaw.data.cutouts import read_cutouts
from skythaw.data.sources.sdss.fetch_state import FetchState
from skythaw.data.sources.sdss.sdss_request import Request
from skythaw.data.sources.sdss.spectra_query import Limits, slice_query
from skythaw.errors import DataError, RemoteError

SKY = {"objects": 600, "seed": 8, "faults": {"outside404": 0.05, "black200": 0.05, "html503": 0.05, "html200": 0.02}}
UNIVERSE = Universe(**SKY)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("sdss") / "log"


@pytest.fixture(scope="module")
def url(log):
    with serving({**SKY, "log": str(log)}) as address:
        yield address


def test_a_sample_has_its_number_of_each_class_and_every_image_is_the_true_one(url, tmp_path):
    outcome = fetch(tmp_path / "a.parquet", url, Request(per_class=20))
    cutouts = read_cutouts(tmp_path / "a.parquet")
    known = truth(UNIVERSE)
    assert outcome.asked == 60
    assert outcome.fetched + sum(outcome.rejected.values()) == 60
    assert set(outcome.rejected) <= {"outside", "black"}
    assert len(cutouts) == outcome.fetched
    assert all(known[name] == sha256 for name, sha256 in images(tmp_path / "a.parquet").items())
    rows = {str(row["specObjID"]): row for row in UNIVERSE.rows}
    for name, label, psf, ra in zip(
        cutouts.object_ids, cutouts.labels, cutouts.column("psfMag_u"), cutouts.column("ra"), strict=True
    ):
        assert label == rows[name]["class"]
        assert (psf, ra) == pytest.approx((rows[name]["psfMag_u"], rows[name]["photoRa"]))
    assert set(cutouts.column("release")) == {"DR17"}


def test_the_same_request_again_asks_for_nothing_and_gives_the_same_bytes(url, log, tmp_path):
    out = tmp_path / "a.parquet"
    first = fetch(out, url, Request(total=80))
    content, asked = out.read_bytes(), len(requests_of(log))
    assert fetch(out, url, Request(total=80)) == first
    out.unlink()
    fetch(out, url, Request(total=80))
    assert out.read_bytes() == content
    assert len(requests_of(log)) == asked


def test_a_smaller_sample_is_the_beginning_of_a_larger_one_and_a_seed_draws_its_own(url, tmp_path):
    small, large, other = (tmp_path / f"{name}.parquet" for name in ("small", "large", "other"))
    fetch(small, url, Request(total=40))
    fetch(large, url, Request(total=90))
    fetch(other, url, Request(total=40, seed=1))
    ids = read_cutouts(small).object_ids
    assert read_cutouts(large).object_ids[: len(ids)] == ids
    assert len(set(read_cutouts(other).object_ids) & set(ids)) < 20


def test_total_keeps_the_natural_proportion(url, tmp_path):
    request = Request(total=10_000)
    outcome = fetch(tmp_path / "a.parquet", url, request)
    assert outcome.asked == 600, "all there are"
    labels = [row["class"] for row in UNIVERSE.rows]
    state = sqlite3.connect(outcome.state)
    counts = dict(state.execute("select label, count(*) from objects group by label"))
    assert counts == {name: labels.count(name) for name in ("GALAXY", "QSO", "STAR")}
    state.close()


def test_limits_and_classes_choose(url, tmp_path):
    fetch(tmp_path / "a.parquet", url, Request(total=30, classes=("GALAXY",), limits=Limits(max_mag=18)))
    cutouts = read_cutouts(tmp_path / "a.parquet")
    assert set(cutouts.labels) == {"GALAXY"}
    assert cutouts.column("modelMag_r").max() <= 18


def test_what_failed_for_good_is_only_tried_again_on_request(url, log, tmp_path):
    out = tmp_path / "a.parquet"
    lost = [i for i in range(600) if UNIVERSE.fault(i) in ("outside404", "black200")]
    request = Request(catalog=write_catalog(tmp_path / "c.csv", UNIVERSE, [*lost, 0, 1, 2]))
    first = fetch(out, url, request)
    before = len(requests_of(log))
    assert fetch(out, url, request) == first
    assert len(requests_of(log)) == before
    fetch(out, url, request, retry_failed=True)
    assert len(requests_of(log)) - before == len(lost)


def test_another_request_into_the_same_file_is_refused(url, tmp_path):
    fetch(tmp_path / "a.parquet", url, Request(total=5))
    with pytest.raises(DataError, match=r"belongs to another request \(size = 64, not 128\)"):
        fetch(tmp_path / "a.parquet", url, Request(total=5, size=128))


def test_two_processes_on_one_file_are_refused(url, tmp_path):
    state = FetchState(tmp_path / "a.parquet.sdss")
    with pytest.raises(DataError, match="another process is fetching"):
        fetch(tmp_path / "a.parquet", url, Request(total=5))
    state.close()


def test_a_service_that_is_down_ends_the_run_and_the_next_one_goes_on(tmp_path):
    out, request = tmp_path / "a.parquet", Request(catalog=write_catalog(tmp_path / "c.csv", UNIVERSE))
    down = {**SKY, "faults": {}, "image_faults_always": "html503"}
    with serving(down) as address, pytest.raises(RemoteError, match="20 requests in a row failed"):
        fetch(out, address, request, attempts=1)
    assert not out.exists()
    with serving({**SKY, "faults": {}}) as address:
        assert fetch(out, address, request).fetched == 600


def test_no_service_at_all_is_one_clear_line(skythaw, tmp_path):
    done = skythaw("data", "sdss", tmp_path / "a.parquet", "--total", 3, "--base-url", "http://127.0.0.1:9",
                   "--rate", 1000, "--attempts", 1)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: SkyServer, DR17, to a query: ConnectError")
    assert not (tmp_path / "a.parquet").exists()


def test_a_damaged_image_in_the_state_file_is_fetched_again(url, log, tmp_path):
    out, request = tmp_path / "a.parquet", Request(total=30)
    outcome = fetch(out, url, request)
    content, before = out.read_bytes(), len(requests_of(log))
    db = sqlite3.connect(outcome.state)
    data = bytearray(db.execute("select bytes from images where place = 3").fetchone()[0])
    data[len(data) // 2] ^= 1
    db.execute("update images set bytes = ? where place = 3", (bytes(data),))
    db.commit()
    db.close()
    fetch(out, url, request)
    assert out.read_bytes() == content
    assert len(requests_of(log)) - before == 1


def test_a_torn_state_file_is_named(url, tmp_path):
    (tmp_path / "a.parquet.sdss").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(DataError, match=r"a.parquet.sdss is damaged .* delete it to begin again"):
        fetch(tmp_path / "a.parquet", url, Request(total=5))


def test_rows_of_one_object_of_the_sky_are_fetched_once(tmp_path):
    from skythaw.data.sources.sdss.state_rows import SkyObject

    state = FetchState(tmp_path / "s")
    items = [
        SkyObject(name, "STAR", 1.0, 2.0, source, None, {}) for name, source in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    assert state.add(items) == 2
    assert [(each.object_id) for each in state.targets()] == ["a", "c"]
    assert list(state.failed()) == [("b", "duplicate", "the same as a")]
    state.close()


@pytest.mark.parametrize("service", ["legacy", "hips2fits"])
def test_other_services_give_their_images(service, tmp_path):
    with serving({"objects": 20, "seed": 2}) as address:
        universe = Universe(20, 2)
        request = Request(catalog=write_catalog(tmp_path / "c.csv", universe), service=service)
        assert fetch(tmp_path / "a.parquet", address, request).fetched == 20


def test_a_query_of_ones_own(url, skythaw, tmp_path):
    query = slice_query(("STAR",), 0, Limits()).replace("BETWEEN 0 AND 255", "< 30000")
    (tmp_path / "mine.sql").write_text(query.replace(" FROM", "\n  FROM"))
    done = skythaw("data", "sdss", "a.parquet", "--sql", "mine.sql", "--column", "ra=photoRa", "--column",
                   "dec=photoDec", "--column", "object_id=specObjID", "--base-url", url, "--rate", 1000, "--json",
                   cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    stars = [r for r in UNIVERSE.rows if r["class"] == "STAR" and (r["htmID"] * 37 & 0xFFFF) < 30000]
    assert found["asked"] == found["fetched"] + sum(found["rejected"].values()) == len(stars)
    cutouts = read_cutouts(tmp_path / "a.parquet")
    assert set(cutouts.labels) == {"STAR"}
    assert "modelMag_r" in cutouts.table.column_names


def test_a_query_of_ones_own_gives_equal_bytes_in_whatever_order_rows_come(tmp_path):
    query = slice_query(("QSO",), 0, Limits()).replace("BETWEEN 0 AND 255", "< 60000")
    names = {"ra": "photoRa", "dec": "photoDec", "object_id": "specObjID"}
    with serving({**SKY, "shuffle": True}) as address:
        outs = [tmp_path / name / "a.parquet" for name in "ab"]
        for out in outs:
            fetch(out, address, Request(sql=query, columns=names))
    assert outs[0].read_bytes() == outs[1].read_bytes()


@pytest.mark.soak
def test_equal_replies_give_equal_bytes(tmp_path):
    """T26: in whatever order rows come, whatever the hash seed, the locale and the time zone."""
    contents = set()
    for n, (shuffle, zone, language) in enumerate([(False, "UTC", "C"), (True, "Asia/Tokyo", "C.UTF-8")]):
        with serving({**SKY, "shuffle": shuffle}) as address:
            out = tmp_path / str(n) / "a.parquet"
            environment = {**os.environ, "PYTHONHASHSEED": str(n), "TZ": zone, "LC_ALL": language}
            command = [sys.executable, "-m", "skythaw", "data", "sdss", str(out), "--per-class", "15", "--base-url",
                       address, "--rate", "1000", "--workers", str(1 + 5 * n)]  # fmt: skip
            subprocess.run(command, env=environment, check=True, capture_output=True)
            contents.add(out.read_bytes())
    assert len(contents) == 1


def test_the_file_says_how_it_was_made(url, skythaw, tmp_path):
    skythaw("data", "sdss", tmp_path / "a.parquet", "--per-class", 5, "--base-url", url, "--rate", 1000)
    recipe = read_cutouts(tmp_path / "a.parquet").recipe
    assert (recipe["source"], recipe["release"], recipe["service"]) == ("sdss", "DR17", "skyserver")
    assert recipe["query"].startswith("SELECT TOP 500000 s.specObjID")
    assert len(recipe["replies"]) >= 3
    assert recipe["sample"] == {"per_class": 5, "classes": ["GALAXY", "QSO", "STAR"], "seed": 0}
    text = skythaw("data", "verify", tmp_path / "a.parquet").stdout
    assert "are whole" in text


def test_the_state_file_may_be_deleted_and_all_is_fetched_again(url, tmp_path):
    out = tmp_path / "a.parquet"
    fetch(out, url, Request(total=20))
    content = out.read_bytes()
    for each in tmp_path.glob("a.parquet.sdss*"):
        each.unlink()
    fetch(out, url, Request(total=20))
    assert out.read_bytes() == content
    shutil.rmtree(tmp_path)
