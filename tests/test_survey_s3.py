"""Predicting a survey that lies in object storage: a real S3 service, on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

from conftest import SKYTHAW
from helpers_bundle import make_bundle
from helpers_survey import hats, rows, split


@pytest.fixture(scope="module")
def storage():
    """The environment in which S3 is a server of our own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    names = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    deadline = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            assert server.poll() is None, "the server ended"
            time.sleep(0.1)
    yield names
    server.terminate()
    server.wait(60)


@pytest.fixture(scope="module")
def bucket(storage, tmp_path_factory, cache):
    """A bundle, and its survey in a bucket as files and as a HATS catalogue."""
    folder = tmp_path_factory.mktemp("s3")
    bundle = make_bundle(folder, cache)
    split(folder / "survey.parquet", folder / "nights")
    hats(folder / "survey.parquet", folder / "catalogue")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in storage.items():
            patch.setenv(name, value)
        s3, _ = FileSystem.from_uri("s3://sky")
        s3 = type(s3)(allow_bucket_creation=True, endpoint_override=storage["AWS_ENDPOINT_URL"])
        s3.create_dir("sky")
        for name in ("nights", "catalogue"):
            copy_files(str(folder / name), f"sky/{name}", LocalFileSystem(), s3)
    return folder, bundle


@pytest.fixture
def predict(skythaw, skythaw_process, bucket, storage, monkeypatch):
    """The command, with the storage that it should know."""

    def run(*arguments):
        for name, value in storage.items():
            monkeypatch.setenv(name, value)
        command = skythaw_process if "ray" in arguments else skythaw
        return command("predict", bucket[1], *arguments, "--device", "cpu", "--shard", "40")

    return run


CASES = [(engine, name) for engine in ("serial", "processes", "ray") for name in ("nights", "catalogue")]


@pytest.mark.soak
@pytest.mark.parametrize(("engine", "name"), CASES)
def test_a_survey_in_object_storage_has_the_rows_it_has_on_disk(predict, bucket, tmp_path, name, engine):
    folder, _ = bucket
    done = predict(f"s3://sky/{name}", "-o", tmp_path / "there", "--engine", engine)
    assert done.returncode == 0, done.stderr
    here = predict(folder / name, "-o", tmp_path / "here", "--engine", "serial")
    assert here.returncode == 0, here.stderr
    assert len(rows(tmp_path / "there")) == 180
    assert rows(tmp_path / "there").equals(rows(tmp_path / "here"))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://elsewhere/nights", "there is no Parquet file at s3://elsewhere/nights"),
        ("s3://sky/nothing", "there is no Parquet file at s3://sky/nothing"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(predict, tmp_path, address, words):
    done = predict(address, "-o", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: {words}")
    assert not (tmp_path / "out").exists()


@pytest.mark.soak
def test_a_service_that_does_not_answer_is_said_in_one_line(storage, bucket, tmp_path):
    """In a process of its own: this one knows another service."""
    away = os.environ | storage | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    command = [*SKYTHAW, "predict", bucket[1], "s3://sky/nights", "-o", tmp_path / "out"]
    done = subprocess.run(list(map(str, command)), env=away, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "can't look at s3://sky/nights" in done.stderr


def test_one_file_of_rows_is_for_images_on_disk(predict, tmp_path):
    done = predict("s3://sky/nights/night0.parquet", "-o", tmp_path / "out.parquet")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "give -o a name without an ending" in done.stderr
    assert not list(tmp_path.iterdir())


def test_shards_are_parquet_like_any_other(predict, tmp_path):
    done = predict("s3://sky/nights/night0.parquet", "-o", tmp_path / "out", "--engine", "serial")
    assert done.returncode == 0, done.stderr
    assert [len(pq.read_table(p)) for p in sorted((tmp_path / "out" / "shards").iterdir())] == [40, 20]
