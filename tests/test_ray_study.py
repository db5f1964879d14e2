"""A study on a Ray cluster: the same bits as `serial`, from nodes that see none of the driver's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from helpers_ray import Carrying, Grouped, cluster
from helpers_study import make_survey, write_study
from skythaw.engines.ray import Ray
from skythaw.spec import Study
from skythaw.study.ledger import Ledger
from skythaw.study.remote import Cluster
from skythaw.study.run import Setting, run_study

SMALL = {'"0%", "50%", "100%"': '"0%", "100%"', "epochs = 7": "epochs = 2", "seed = [0, 1]": "seed = [0]"}


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
    run_study(study, Setting(folder / "run", cache, "serial", 1, "cpu"))
    return folder, study


def numbers(run):
    """What the cells of a run gave, but for times (the checksum of the weights is in it), and their predictions."""
    with Ledger.read(run) as ledger:
        results = {e.key: e.result.model_dump() for e in ledger.entries()}
    for result in results.values():
        for name in ("seconds", "peak_memory", "latency"):
            del result[name]
    assert sorted(p.stem for p in (run / "weights").iterdir()) == sorted(results)
    return results, {p.name: p.read_bytes() for p in (run / "predictions").iterdir()}


def test_a_group_stays_on_one_node_and_groups_share_the_nodes(two_nodes):
    with Ray(address=two_nodes.address) as engine:
        found = {o.item: o.value for o in engine.map(Grouped(), range(6))}
    assert len({found[0], found[2], found[4]}) == len({found[1], found[3], found[5]}) == 1
    assert found[0] != found[1]


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


def test_the_same_bits_as_serial_from_nodes_that_lack_the_files(two_nodes, serial, tmp_path, cache, monkeypatch):
    folder, study = serial
    share = Ray.share
    monkeypatch.setattr(Ray, "share", lambda self, path: replace(share(self, path), path=Path("/nowhere", path.name)))
    how = Cluster(two_nodes.address, str(tmp_path / "node-{node}"))
    summary = run_study(study, Setting(tmp_path / "run", cache, "ray", None, "cpu", cluster=how))
    assert (summary.done, summary.failed) == (2, 0)
    assert numbers(tmp_path / "run") == numbers(folder / "run")
    nodes = list(tmp_path.glob("node-*"))
    assert nodes
    assert all(len(list(each.glob("shared/*/survey.parquet"))) == 1 for each in nodes)
    assert all(list(each.glob("pixels/*/about.json")) for each in nodes)
    assert all(list(each.glob("activations/*/about.json")) for each in nodes)
    assert not [left for each in nodes for left in each.glob("cells/*")]
