"""``skythaw data verify``: one flipped bit in any cutout is found (T16)."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers_data import encode
from skythaw.data.cutouts import write_cutouts
from skythaw.data.verify import verify


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A file of 1,000 cutouts, its content, and where in it each image is."""
    path = tmp_path_factory.mktemp("verify") / "a.parquet"
    rng = np.random.default_rng(0)
    images = [encode(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)) for _ in range(1000)]
    write_cutouts(
        path, ({"object_id": f"o{i}", "label": "STAR", "image": each} for i, each in enumerate(images)), (), {}
    )
    content = path.read_bytes()
    return path, content, [(content.index(each), len(each)) for each in images]


def flip(content, bits):
    data = bytearray(content)
    for bit in bits:
        data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def test_a_whole_file_is_whole(survey, skythaw):
    found = verify(survey[0])
    assert (found["objects"], found["unchecked"], found["damaged"]) == (1000, 0, [])
    assert "all 1000 cutouts are whole" in skythaw("data", "verify", survey[0]).stdout


def test_one_flipped_bit_in_each_of_a_thousand_cutouts_is_found(survey, tmp_path):
    _, content, places = survey
    rng = random.Random(1)
    bits = [8 * start + rng.randrange(8 * length) for start, length in places]
    (tmp_path / "b.parquet").write_bytes(flip(content, bits))
    found = verify(tmp_path / "b.parquet")["damaged"]
    assert [each["object_id"] for each in found] == [f"o{i}" for i in range(1000)]


def test_one_flipped_bit_alone_is_found_and_named(survey, tmp_path, skythaw):
    _, content, places = survey
    rng = random.Random(2)
    for i in rng.sample(range(1000), 20):
        start, length = places[i]
        (tmp_path / "b.parquet").write_bytes(flip(content, [8 * start + rng.randrange(8 * length)]))
        assert [each["object_id"] for each in verify(tmp_path / "b.parquet")["damaged"]] == [f"o{i}"]
    done = skythaw("data", "verify", tmp_path / "b.parquet")
    assert done.returncode == 2
    assert f"1 of 1000 cutouts are damaged, the first is o{i} (its bytes differ" in done.stderr
    done = skythaw("data", "verify", tmp_path / "b.parquet", "--json")
    assert done.returncode == 2
    assert len(json.loads(done.stdout)["damaged"]) == 1


def test_a_file_without_checksums_is_decoded_and_said_to_be_unchecked(survey, tmp_path, skythaw):
    table = pq.read_table(survey[0]).drop(["sha256"]).slice(0, 5)
    images = table["image"].to_pylist()
    images[2]["bytes"] = images[2]["bytes"][:-100]
    at = table.column_names.index("image")
    pq.write_table(
        table.set_column(at, "image", pa.array(images, table.schema.field("image").type)), tmp_path / "c.parquet"
    )
    found = verify(tmp_path / "c.parquet")
    assert (found["unchecked"], [each["object_id"] for each in found["damaged"]]) == (5, ["o2"])
    assert "5 cutouts have no recorded checksum" in skythaw("data", "verify", tmp_path / "c.parquet").stderr


def test_what_is_no_file_of_cutouts_is_one_clear_line(tmp_path, skythaw):
    (tmp_path / "d.parquet").write_bytes(b"no")
    done = skythaw("data", "verify", tmp_path / "d.parquet")
    assert done.returncode == 2
    assert done.stderr.startswith("error: can't read")
