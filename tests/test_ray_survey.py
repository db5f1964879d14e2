"""A survey and a study on a Ray cluster of which things die: workers, nodes, the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from helpers_bundle import make_bundle
from helpers_ray import cluster, workers_of
from helpers_survey import POISON, deadly_kind, rows, split
from skythaw.engines.ray_engine import Ray
from skythaw.predict.predict_images import PredictSettings
from skythaw.predict.survey.predict_survey import KILLS, EngineChoice, predict_survey
from skythaw.study.on_cluster import Cluster

SETTING = PredictSettings(device="cpu", shard=20)


@pytest.fixture(scope="module")
def nodes():
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def made(tmp_path_factory, cache):
    """A bundle, its survey in three files, and the rows that are due."""
    folder = tmp_path_factory.mktemp("survey")
    bundle = make_bundle(folder, cache)
    split(folder / "survey.parquet", folder / "nights")
    predict_survey(bundle, [str(folder / "nights")], folder / "undisturbed", SETTING, EngineChoice("serial"))
    return folder, rows(folder / "undisturbed")


def spread(nodes, tmp_path):
    return EngineChoice("ray", None, Cluster(nodes.address, str(tmp_path / "node-{node}")))


@pytest.mark.soak
def test_the_rows_of_serial_though_workers_are_killed_and_a_node_goes(made, nodes, tmp_path):
    """A worker is killed when the first shard is there, a node when the third is; another node comes."""
    folder, expected = made
    added = nodes.add_node(num_cpus=1, object_store_memory=80 << 20)
    seen = set()

    def told(done, _all):
        if done >= 20 and "worker" not in seen:
            seen.add("worker")
            os.kill(workers_of(nodes)[0], signal.SIGKILL)
        if done >= 60 and "node" not in seen:
            seen.add("node")
            nodes.remove_node(added, allow_graceful=False)

    out = tmp_path / "out"
    summary = predict_survey(folder / "bundle", [str(folder / "nights")], out, SETTING, spread(nodes, tmp_path), told)
    assert seen == {"worker", "node"}
    assert (summary.objects, summary.undone, summary.failed) == (180, {}, {})
    assert rows(out).equals(expected)


@pytest.mark.soak
def test_an_image_that_kills_its_worker_is_isolated(made, nodes, tmp_path, own_engine):
    folder, expected = made
    deadly = replace(spread(nodes, tmp_path), engine=own_engine(deadly_kind(Ray)))
    out = tmp_path / "out"
    summary = predict_survey(folder / "bundle", [str(folder / "nights")], out, SETTING, deadly)
    assert summary.failed == {KILLS: 1}
    found = rows(out)
    good = [row for row, name in enumerate(found["object_id"].to_pylist()) if name != POISON]
    assert len(good) == 179
    assert found.take(good).equals(expected.take(good))


@pytest.mark.soak
def test_a_killed_driver_leaves_whole_shards_and_the_next_makes_the_rest(made, nodes, tmp_path):
    folder, expected = made
    out = tmp_path / "out"
    command = [sys.executable, "-m", "skythaw", "predict", folder / "bundle", folder / "nights", "-o", out, "--shard"]
    command += ["20", "--device", "cpu", "--engine", "ray", "--address", nodes.address, "--node-cache", tmp_path / "n"]
    driver = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE)
    watching = threading.Thread(target=_kill_when, args=(driver, out))
    watching.start()
    driver.communicate()
    watching.join()
    assert driver.returncode == -signal.SIGKILL
    summary = predict_survey(folder / "bundle", [str(folder / "nights")], out, SETTING, spread(nodes, tmp_path))
    assert 20 <= summary.resumed < 180
    assert rows(out).equals(expected)


def _kill_when(driver, out):
    while driver.poll() is None and not list(Path(out).glob("shards/0*")):
        threading.Event().wait(0.02)
    driver.kill()
