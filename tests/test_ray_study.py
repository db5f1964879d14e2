"""A study on a Ray cluster: the same bits as `serial`, from nodes that see none of the driver's files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from helpers_ray import Carrying, Grouped, cluster, workers_of
from helpers_study import make_survey, write_study
from skythaw.engines import shared_files as shared
from skythaw.engines.ray_engine import Ray
from skythaw.errors import DataError, LedgerError
from skythaw.spec import Study
from skythaw.study import on_cluster
from skythaw.study.ledger import Ledger
from skythaw.study.on_cluster import NODE_CACHE, Cluster, node_folder
from skythaw.study.open_study import RunSettings, Watcher
from skythaw.study.run_study import run_study

SMALL = {'"0%", "50%", "100%"': '"0%", "50%"', "epochs = 7": "epochs = 2", "seed = [0, 1]": "seed = [0]"}


LARGER = {'"0%", "50%", "100%"': '"0%", "100%"', "seed = [0, 1]": "seed = [0, 1, 2]"}


@pytest.fixture(scope="module")
def two_nodes():
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def serial(tmp_path_factory, cache):
    """A study and its run in this process."""
    folder = tmp_path_factory.mktemp("serial")
    make_survey(folder / "survey.parquet")
    study = Study.load(write_study(folder, replace=SMALL))
    run_study(study, RunSettings(folder / "run", cache, "serial", 1, "cpu", control=False))
    return folder, study


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    """A larger study, and its run in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    make_survey(folder / "survey.parquet")
    study = Study.load(write_study(folder, replace=LARGER))
    run_study(study, RunSettings(folder / "run", cache, "serial", 1, "cpu", control=False))
    return folder, study


def taken(run):
    """How long each cell that is done took: a time that does not come again."""
    with Ledger.read(run) as ledger:
        return {entry.key: entry.result.seconds["total"] for entry in ledger.entries() if entry.state == "done"}


def numbers(run):
    """What the cells of a run gave, but for times (the checksum of the weights is in it), and their predictions."""
    with Ledger.read(run) as ledger:
        results = {e.key: e.result.model_dump() for e in ledger.entries()}
    for result in results.values():
        for name in ("seconds", "peak_memory", "latency"):
            del result[name]
    assert sorted(p.stem for p in (run / "weights").iterdir()) == sorted(results)
    return results, {p.name: p.read_bytes() for p in (run / "predictions").iterdir()}


@pytest.mark.soak
def test_a_group_stays_on_one_node_and_groups_share_the_nodes(two_nodes):
    with Ray(address=two_nodes.address) as engine:
        found = {o.item: o.value for o in engine.map(Grouped(), range(6))}
    assert len({found[0], found[2], found[4]}) == len({found[1], found[3], found[5]}) == 1
    assert found[0] != found[1]


@pytest.mark.soak
def test_a_shared_file_is_found_where_it_is_or_copied_once(two_nodes, tmp_path):
    file = tmp_path / "some.bin"
    file.write_bytes(b"x" * 100)
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "one").write_text("1")
    with Ray(address=two_nodes.address) as engine:
        shared, whole = engine.share(file), engine.share(folder)
        assert [o.value for o in engine.map(Carrying(shared, tmp_path / "cache"), [0])] == [(str(file), b"x" * 100)]
        file.write_bytes(b"y" * 100)  # the same path, another content
        path, content = next(engine.map(Carrying(shared, tmp_path / "cache"), [0])).value
        assert content == b"x" * 100
        assert path.startswith(str(tmp_path / "cache"))
        folder.rename(tmp_path / "gone")
        path, names = next(engine.map(Carrying(whole, tmp_path / "cache"), [0])).value
    assert names == ["below"]
    assert path.startswith(str(tmp_path / "cache"))


def test_a_folder_with_more_or_other_files_is_not_the_same(tmp_path):
    """And what a killed worker had fetched of it goes."""
    folder, cache = tmp_path / "x", tmp_path / "cache"
    folder.mkdir()
    for name in ("x", "y", ".hidden", ".git/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    whole = shared.share(folder, bytes, bytes, 1)
    assert [each.name for each in whole.files] == ["x", "y"]
    assert whole.here(cache) == folder
    (folder / "z").touch()
    copy = whole.here(cache)
    assert copy != folder
    assert sorted(each.name for each in copy.iterdir()) == ["x", "y"]
    (copy / "z").touch()
    (copy.parents[1] / f".{copy.parent.name}" / "x").mkdir(parents=True)
    assert whole.here(cache) == copy
    assert sorted(each.name for each in copy.iterdir()) == ["x", "y"]
    assert not list((cache / "shared").glob(".*"))
    (folder / "y").unlink()
    (folder / "z").unlink()
    alone = shared.share(folder, bytes, bytes, 1)
    assert alone.here(cache) == folder, "its only file has its name"


@pytest.mark.soak
def test_the_same_bits_as_serial_from_nodes_that_lack_the_files(two_nodes, serial, tmp_path, cache, own_engine):
    folder, study = serial

    class Elsewhere(Ray):
        def share(self, path):
            return replace(super().share(path), path=Path("/nowhere", path.name))

    how = Cluster(two_nodes.address, str(tmp_path / "node-{node}"))
    summary = run_study(
        study, RunSettings(tmp_path / "run", cache, own_engine(Elsewhere), None, "cpu", cluster=how, control=False)
    )
    assert (summary.done, summary.failed) == (2, 0)
    assert numbers(tmp_path / "run") == numbers(folder / "run")
    nodes = list(tmp_path.glob("node-*"))
    assert nodes
    assert all(len(list(each.glob("shared/*/survey.parquet"))) == 1 for each in nodes)
    assert all(list(each.glob("pixels/*/about.json")) for each in nodes)
    assert all(list(each.glob("activations/*/about.json")) for each in nodes)
    assert not [left for each in nodes for left in each.glob("cells/*")]


@pytest.mark.soak
def test_the_bits_of_serial_though_a_worker_is_killed_and_a_node_goes(
    two_nodes, undisturbed, tmp_path, cache, monkeypatch
):
    """The workers when the first cell is done, the node when the second is; another node comes."""
    folder, study = undisturbed
    given, gives = [], Ray._give  # what was given out, and how often it died, is told to nobody
    monkeypatch.setattr(Ray, "_give", lambda self, function, job: given.append(job) or gives(self, function, job))
    added = two_nodes.add_node(num_cpus=1, object_store_memory=80 << 20)

    class Killer(Watcher):
        over = 0

        def finished(self, planned, error):
            self.over += 1
            if self.over == 1:
                for worker in workers_of(two_nodes):
                    os.kill(worker, signal.SIGKILL)
            elif self.over == 2:
                two_nodes.remove_node(added, allow_graceful=False)
                two_nodes.add_node(num_cpus=1, object_store_memory=80 << 20)

    killer, how = Killer(), Cluster(two_nodes.address, str(tmp_path / "node-{node}"))
    summary = run_study(
        study, RunSettings(tmp_path / "run", cache, "ray", None, "cpu", cluster=how, control=False), killer
    )
    assert killer.over == summary.done == 6
    assert max(job.deaths for job in given) > 0, "nothing was disturbed"
    assert numbers(tmp_path / "run") == numbers(folder / "run")


@pytest.mark.soak
def test_a_killed_driver_loses_no_finished_cell_and_the_next_runs_the_rest(two_nodes, undisturbed, tmp_path, cache):
    folder, _ = undisturbed
    run = tmp_path / "run"
    command = [sys.executable, "-m", "skythaw", "study", "run", folder / "study.toml", "--out", run, "--device", "cpu"]
    command += [
        "--no-control",
        "--engine",
        "ray",
        "--address",
        two_nodes.address,
        "--node-cache",
        tmp_path / "node-{node}",
    ]
    environment = {**os.environ, "SKYTHAW_CACHE": str(cache)}
    with subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.DEVNULL) as driver:
        before = {}
        while driver.poll() is None and not before:
            threading.Event().wait(0.05)
            with suppress(LedgerError):  # there is none yet
                before = taken(run)
        driver.kill()
    assert driver.returncode == -signal.SIGKILL
    before = taken(run)
    assert 0 < len(before) < 6
    again = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=True)
    assert "6 of 6 cells are done" in again.stdout
    assert before.items() <= taken(run).items()
    assert numbers(run) == numbers(folder / "run")


def test_a_cache_that_others_can_write_is_not_believed(tmp_path, monkeypatch):
    """The folder's name is known to everybody, and so is the place."""
    monkeypatch.setattr(on_cluster.tempfile, "gettempdir", lambda: str(tmp_path))
    own = node_folder(NODE_CACHE)
    assert own.parent == tmp_path
    assert own.stat().st_mode & 0o777 == 0o700
    assert node_folder(NODE_CACHE) == own
    own.chmod(0o777)
    with pytest.raises(DataError, match="where caches would go: remove it, or say --node-cache FOLDER"):
        node_folder(NODE_CACHE)
    own.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="others can write"):
        node_folder(NODE_CACHE)
    assert node_folder(str(tmp_path / "said")) == tmp_path / "said"
