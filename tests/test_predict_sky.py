"""`predict --sdss`: a catalogue of positions in, a row for each out; images come from a server that answers as SDSS."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import skythaw as package
from helpers_bundle import make_bundle
from helpers_sdss import requests_of, write_catalog
from sdss_server import serving
from sdss_universe import Universe
from skythaw.bundle.bundle_file import ABOUT, WEIGHTS, read_about
from skythaw.data.sources.sdss.http_client import HttpSettings
from skythaw.errors import BundleError, RemoteError, SpecError
from skythaw.predict.from_sky import FetchSettings, fetch_catalogue, request_of
from skythaw.predict.predict_images import PredictSettings, predict_to

SKY = {"objects": 60, "seed": 8, "faults": {"outside404": 0.1, "black200": 0.1, "html503": 0.1}}
UNIVERSE = Universe(**SKY)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, cache):
    """One of unknown scale, and the same that knows its scale."""
    folder = tmp_path_factory.mktemp("bundle")
    unknown = make_bundle(folder, cache)
    known = shutil.copytree(unknown, folder / "known")
    about = read_about(known)
    about = about.model_copy(update={"expected": about.expected.model_copy(update={"pixel_scale": 0.396})})
    (known / ABOUT).write_text(about.canonical())
    save_file(load_file(known / WEIGHTS), known / WEIGHTS, {"about_sha256": about.sha256})
    return unknown, known


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("sdss") / "log"


@pytest.fixture(scope="module")
def url(log):
    with serving({**SKY, "log": str(log)}) as address:
        yield address


def rows_of(path):
    return {row["object_id"]: row for row in pq.read_table(path).to_pylist()}


def test_every_object_of_the_catalogue_is_a_row(bundles, url, log, skythaw, tmp_path):
    catalogue = write_catalog(tmp_path / "c.csv", UNIVERSE)
    with catalogue.open("a") as file:
        file.write("beyond,800,5,,,,,\nnowhere,,,,,,,\n")
    command = (
        "predict",
        bundles[1],
        catalogue,
        "-o",
        tmp_path / "out.parquet",
        "--sdss",
        "--base-url",
        url,
        "--backend",
        "torch",
    )
    done = skythaw(*command, "--rate", 500, "--json")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out.parquet")
    assert list(rows) == [*(f"o{i:05d}" for i in range(60)), "beyond", "nowhere"], "in the catalogue's order"
    good = {f"o{i:05d}": UNIVERSE.jpeg(i, 64) for i in range(60) if UNIVERSE.fetchable(i)}
    assert {name for name, row in rows.items() if row["status"] == "ok"} == good.keys()
    assert 30 < len(good) < 60
    classifier = package.load(bundles[1])
    for name, p in zip(good, classifier.predict(list(good.values())), strict=True):
        assert np.allclose([rows[name][f"p_{each}"] for each in classifier.classes], p, atol=1e-5)
    reasons = Counter(row["status"] for row in rows.values() if row["status"] != "ok")
    assert reasons["not fetched, bad_position: ra and dec are no position on the sky"] == 2
    assert {reason.split(":")[0] for reason in reasons} == {
        *("not fetched, bad_position", "not fetched, outside", "not fetched, black")
    }
    assert json.loads(done.stdout)["failed"] == dict(reasons)
    asked = [each for each in requests_of(log) if "getjpeg" in json.dumps(each).lower()]
    assert asked
    before = len(requests_of(log))
    again = skythaw(*command, "--rate", 500)
    assert again.returncode == 0, again.stderr
    assert len(requests_of(log)) == before, "nothing is asked for twice"
    assert rows_of(tmp_path / "out.parquet") == rows


def test_size_and_scale_are_the_bundles(bundles, tmp_path):
    about = read_about(bundles[1])
    request = request_of(about, ["c.csv"], FetchSettings())
    assert (request.size, request.scale, request.images) == (64, 0.396, "jpeg"), "SkyServer gives none below 64"
    assert request_of(about, ["c.csv"], FetchSettings(service="legacy")).size == about.expected.side == 40
    larger = about.model_copy(update={"expected": about.expected.model_copy(update={"side": 120, "pixel_scale": 0.2})})
    request = request_of(larger, ["c.csv"], FetchSettings())
    assert (request.size, request.scale) == (120, 0.2)


def test_a_prediction_that_has_begun_keeps_its_images(bundles, url, log, tmp_path):
    """What failed in passing is asked for again, but not between the two halves of a prediction."""
    about, out = read_about(bundles[1]), tmp_path / "out.parquet"
    archive = FetchSettings(http=HttpSettings(base_url=url, rate=1000))
    catalogue = write_catalog(tmp_path / "c.csv", UNIVERSE)
    file = fetch_catalogue(about, [catalogue], out, archive)
    content = file.read_bytes()
    assert (
        hashlib.sha256(content).digest()
        == hashlib.sha256(fetch_catalogue(about, [catalogue], out, archive).read_bytes()).digest()
    )

    def stopped(items, total):
        for number, item in enumerate(items):
            if number == 45:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        predict_to(bundles[1], [file], out, PredictSettings(batch=8, threads=1, shard=16, backend="torch"), stopped)
    before = len(requests_of(log))
    assert fetch_catalogue(about, [catalogue], out, archive) == file
    assert len(requests_of(log)) == before, "nothing is asked for"
    summary = predict_to(bundles[1], [file], out, PredictSettings(batch=8, shard=16))
    assert (summary.resumed, summary.objects) == (32, 60)


def test_a_service_that_is_down_is_one_line_and_the_same_command_goes_on(bundles, skythaw, tmp_path):
    catalogue = write_catalog(tmp_path / "c.csv", UNIVERSE)
    with serving({**SKY, "faults": {"html503": 1.0}, "fault_times": 1000}) as address:
        about = read_about(bundles[1])
        http = HttpSettings(base_url=address, rate=1000, backoff=0.001, attempts=1)
        with pytest.raises(RemoteError, match="the same command goes on later"):
            fetch_catalogue(about, [catalogue], tmp_path / "out.csv", FetchSettings(http=http))
    assert not (tmp_path / "out.csv.sdss.parquet").exists()


@pytest.mark.parametrize(
    ("bundle", "arguments", "says"),
    [
        (0, ["c.csv"], "does not say the scale of its images"),
        (1, ["c.csv", "c.csv"], "takes one catalogue, not 2 inputs"),
        (1, ["lost.csv"], "can't read the catalogue lost.csv"),
        (1, ["none.csv"], "has no column for ra"),
        (1, ["c.csv", "--release", "99"], "release 99 is none of"),
        (1, ["c.csv", "--service", "x"], "no such service: 'x'"),
        (1, ["c.csv", "--column", "ra"], "should be WHAT=NAME"),
        (1, ["c.csv", "-o", "out.txt"], "should end in"),
    ],
)
def test_what_can_not_be_fetched_is_one_line(bundle, arguments, says, bundles, skythaw, tmp_path):
    write_catalog(tmp_path / "c.csv", UNIVERSE)
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    done = skythaw("predict", bundles[bundle], "-o", "out.csv", "--sdss", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("out.*"))


def test_a_bundle_of_other_images_is_refused(bundles):
    about = read_about(bundles[1])
    expected = about.expected.model_copy(update={"dtype": "float32", "bands": tuple("ugriz")})
    with pytest.raises(
        BundleError, match="takes float32 images with the bands u, g, r, i, z, and --sdss fetches colour JPEGs"
    ):
        request_of(about.model_copy(update={"expected": expected}), ["c.csv"], FetchSettings())
    with pytest.raises(SpecError, match="not 0 inputs"):
        request_of(about, [], FetchSettings())
    assert Image.open(io.BytesIO(UNIVERSE.jpeg(0, 64))).size == (64, 64)
