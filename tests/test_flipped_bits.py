"""One flipped bit in any file of a run that is read back is found, and named; files of equal studies are equal."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import sqlite3

import httpx
import numpy as np
import pyarrow as pa
import pytest

from helpers_bundle import make_bundle
from helpers_web import rules
from skythaw.bundle.export.export_bundle import export
from skythaw.errors import LedgerError
from skythaw.machine.sealed_table import require_sealed, sealed
from skythaw.machine.tensor_file import read_tensors, tensor_bytes
from skythaw.stats.cell_predictions import predictions_path, read_log_probabilities, read_predictions
from skythaw.stats.object_table import objects_path, read_objects
from skythaw.study.ledger import Ledger
from skythaw.study.trained_weights import read_weights, weights_path
from skythaw.web.web_app import make_app, open_service


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("run"), cache).parent / "run"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def entry_of(run):
    with Ledger.read(run) as ledger:
        return ledger.entries()[0]


def flips(file, count, seed=0):
    """The file with one bit flipped, at many places; the last time it is whole again."""
    whole, rng = file.read_bytes(), np.random.default_rng(seed)
    for place in rng.choice(len(whole), count, replace=False):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(flipped)
        yield
    file.write_bytes(whole)


def read_or_refused(read, file):
    """What is read; None where it is refused in one line that names the file."""
    try:
        return read()
    except LedgerError as error:
        said = str(error)
    assert str(file) in said
    assert "\n" not in said
    return None


def test_trained_weights(run):
    entry = entry_of(run)
    file, sha256 = weights_path(run, entry.key), entry.result.weights_sha256
    whole, found = read_weights(run, entry.key, sha256), 0
    for _ in flips(file, 60):
        read = read_or_refused(lambda: read_weights(run, entry.key, sha256), file)
        found += read is None
        if read is not None:  # a bit of the metadata that nobody reads
            assert all(read[name].equal(each) for name, each in whole.items())
    assert found > 40
    read_weights(run, entry.key, sha256)


def test_export_of_damaged_weights_is_refused(run, tmp_path):
    for entry in [entry_of(run)]:
        file = weights_path(run, entry.key)
        data = bytearray(file.read_bytes())
        data[-1000] ^= 1
        file.write_bytes(data)
        with pytest.raises(LedgerError, match=f"{entry.key}.safetensors.*damaged"):
            export(run, tmp_path / "bundle", cell=entry.key, onnx=False)
        assert not (tmp_path / "bundle").exists()


def test_predictions(run):
    entry = entry_of(run)
    key, classes, file = entry.key, entry.result.classes, predictions_path(run, entry.key)
    whole, found = read_log_probabilities(run, key, "test", classes), 0
    for _ in flips(file, 150):
        read = read_or_refused(lambda: read_log_probabilities(run, key, "test", classes), file)
        found += read is None
        if read is not None:
            assert np.array_equal(read, whole)
    assert found > 75
    read_predictions(run, key, "test", classes)


def test_scored_objects(run):
    whole, file, found = read_objects(run), objects_path(run), 0
    for _ in flips(file, 150):
        read = read_or_refused(lambda: read_objects(run), file)
        found += read is None
        if read is not None:
            assert read.equals(whole)
    assert found > 75


def told(run):
    with Ledger.read(run) as ledger:
        remarks = [ledger.remark(name) for name in ("name", "data", "weights", "objects")]
        return ledger.study, remarks, ledger.entries()


def test_the_ledger(run):
    file, whole, found = run / "ledger.sqlite", told(run), 0
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for _ in flips(file, 300):
        read = read_or_refused(lambda: told(run), run)
        found += read is None
        if read is not None:
            assert read == whole
    assert found > 60


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("result = '{}', sha256 = NULL", "result: 'key' is missing"),
        ("cell = 'nonsense', sha256 = NULL", "Invalid JSON|invalid JSON"),
        ("result = replace(result, '0.', '1.')", "its checksum differs"),
        ("result = NULL, sha256 = NULL", "its state 'done' does not fit what is kept of it"),
    ],
)
def test_a_damaged_row_is_one_line_that_names_the_cell(run, skythaw, tmp_path, change, says):
    key = entry_of(run).key
    with contextlib.closing(sqlite3.connect(run / "ledger.sqlite")) as db, db:
        db.execute(f"UPDATE cells SET {change} WHERE key = ?", (key,))
    for arguments in (("report", run), ("study", "status", run), ("export", run, tmp_path / "bundle")):
        done = skythaw(*arguments)
        assert done.returncode == 2, arguments
        assert re.search(says, done.stderr), done.stderr
        assert key[:12] in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_one_bad_run_takes_no_other_down_in_the_service(finished, run, how):
    bad = run.rename(run.with_name("bad"))
    service = open_service([finished, bad], [], rules())
    if how == "gone":
        shutil.rmtree(bad)
    else:
        with contextlib.closing(sqlite3.connect(bad / "ledger.sqlite")) as db, db:
            db.execute("UPDATE cells SET result = '{}', sha256 = NULL WHERE state = 'done'")

    async def ask():
        transport = httpx.ASGITransport(make_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/"), await client.get("/api/v1/runs"), await client.get("/api/v1/runs/run")

    home, several, good = asyncio.run(ask())
    assert [each.status_code for each in (home, several, good)] == [200, 200, 200]
    assert "can't be read any more" in home.text.replace("&#39;", "'")
    assert [each["problem"] for each in several.json()] == [None, "it can't be read any more"]
    assert several.json()[0] == good.json()


def test_equal_arrays_are_equal_files_and_those_without_a_checksum_are_read(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"b": np.arange(5.0), "a": np.zeros((2, 0), np.int64)}
    keys = [f"key {i}" for i in range(20)]
    there, back = dict.fromkeys(keys, "x"), dict.fromkeys(reversed(keys), "x")
    assert tensor_bytes(arrays, there) == tensor_bytes(arrays, back)
    (tmp_path / "new").write_bytes(tensor_bytes(arrays, there))
    save_file(arrays, tmp_path / "old")
    for name in ("new", "old"):
        read = read_tensors(tmp_path / name)
        assert {key: each.tolist() for key, each in read.items()} == {
            key: each.tolist() for key, each in arrays.items()
        }


def test_a_checksum_is_of_values_and_not_of_what_lies_behind_a_null():
    table = pa.table({"a": pa.array([1.5, 2.5], mask=np.array([False, True])), "b": ["x", None], "c": [True, None]})
    require_sealed(sealed(table))
    require_sealed(pa.concat_tables([sealed(table)[:1], sealed(table)[1:]]))
    other = pa.table({"a": pa.array([1.5, 9.0], mask=np.array([False, True])), "b": ["x", None], "c": [True, None]})
    assert sealed(other).schema.metadata == sealed(table).schema.metadata
    for changed in (table.set_column(1, "b", pa.array(["x", ""])), table.rename_columns(["a", "b", "d"])):
        with pytest.raises(ValueError, match="damaged"):
            require_sealed(changed.replace_schema_metadata(sealed(table).schema.metadata))
    with pytest.raises(ValueError, match="damaged"):
        require_sealed(table)
