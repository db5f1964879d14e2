"""T14, T15: hundreds of odd and bad images: each is read or has its reason, none costs memory or time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import corpus_images
from helpers_bundle import make_bundle
from helpers_data import encode, picture
from skythaw.bundle.bundle_file import read_about
from skythaw.data.decode import BrokenImageError, decode
from skythaw.predict.predict_images import predict_to

pytestmark = pytest.mark.soak
MEMORY = 200 << 20
SLOWEST = 10.0
"""seconds: five times what is promised, for machines with much else to do"""
KINDS = {"images": (corpus_images.images, 500), "floats": (corpus_images.floats, 100)}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, cache):
    return {kind: make_bundle(tmp_path_factory.mktemp(kind), cache, floats=kind == "floats") for kind in KINDS}


@pytest.fixture(scope="module", params=list(KINDS))
def found(request, bundles, tmp_path_factory):
    """The corpus, what the child said of each file, its last word, and the folder."""
    kind = request.param
    corpus, least = KINDS[kind]
    files, folder = corpus(), tmp_path_factory.mktemp("corpus")
    assert len(files) >= least
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    child = Path(__file__).with_name("image_child.py")
    command = [sys.executable, child, bundles[kind], folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    *lines, last = map(json.loads, done.stdout.splitlines())
    return files, {Path(line["path"]).name: line for line in lines}, last, (bundles[kind], folder)


def test_each_is_read_or_has_its_reason(found):
    files, lines, _, _ = found
    assert lines.keys() == files.keys()
    wrong = {}
    for name, line in lines.items():
        row = dict(line["row"])
        status, p = row["status"], [value for key, value in row.items() if key.startswith("p_")]
        given = status == "ok" and all(np.isfinite(p)) and row["label"] is not None
        refused = status not in ("ok", "") and status.isprintable() and p == [None] * len(p) and row["label"] is None
        if not (given or refused) or (given and not files[name][1]):
            wrong[name] = row
    assert wrong == {}


def test_those_that_are_whole_are_read(found):
    _, lines, _, _ = found
    plain = [name for name in lines if name.startswith(("mode", "turned", "animated", "progressive", "type", "scaled"))]
    assert len(plain) > 1
    assert {name: lines[name]["row"]["status"] for name in plain} == dict.fromkeys(plain, "ok")


def test_memory_and_time_are_bounded(found):
    _, lines, _, _ = found
    for line in lines.values():
        assert line["grown"] < MEMORY, line
        assert line["seconds"] < SLOWEST, line


def test_nothing_that_is_not_finite_reaches_the_network(found):
    _, lines, last, _ = found
    assert last["finite"]
    assert last["reached"] == sum(
        "network" in line["row"]["status"] or line["row"]["status"] == "ok" for line in lines.values()
    )


def test_a_folder_of_all_of_them_is_predicted(found, tmp_path):
    """In threads and batches the same rows come out as one by one."""
    files, lines, _, (bundle, folder) = found
    summary = predict_to(bundle, [folder], tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert summary.objects == len(table) == len(files)
    alone = {line["row"]["object_id"]: line["row"]["status"] for line in lines.values()}
    assert {row["object_id"]: row["status"] for row in table} == alone


def test_decode_gives_pixels_or_a_named_error(found):
    files, _, _, _ = found
    for name, (data, _) in files.items():
        try:
            pixels = decode(data, name)
        except BrokenImageError as error:
            assert error.reason.strip(), name  # noqa: PT017 - it may also not be raised
        else:
            assert pixels.ndim == 3, name
            assert np.isfinite(pixels).all(), name


def test_no_image_that_differs_from_its_checksum_is_accepted(bundles, tmp_path):
    """In a Parquet file: one bit of each image, most of which would still decode."""
    count, rng = 500, np.random.default_rng(8)
    rows, decodable = [], 0
    for i in range(count):
        data = encode(picture(i, 40))
        flipped = bytearray(data)
        flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        try:
            decode(bytes(flipped), "x")
            decodable += 1
        except BrokenImageError:
            pass
        image = {"bytes": bytes(flipped), "path": None}
        rows.append({"object_id": f"o{i}", "image": image, "sha256": hashlib.sha256(data).hexdigest()})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "flipped.parquet")
    summary = predict_to(bundles["images"], [tmp_path / "flipped.parquet"], tmp_path / "out.parquet")
    assert decodable > 0.6 * count
    assert (summary.ok, summary.objects) == (0, count)
    assert summary.failed == {"its bytes differ from their checksum": count}
    assert read_about(bundles["images"]).expected.dtype == "uint8"
