"""What only a cluster can do: lose workers, lack what an item needs, fill its store; and nothing is left of it."""

from __future__ import annotations

import builtins
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from helpers_engines import die_on_three, square
from helpers_ray import Greedy, big, cluster, processes
from skythaw.engines import placing
from skythaw.engines import ray as engine_of_ray
from skythaw.engines.base import open_engine
from skythaw.engines.ray import Ray
from skythaw.errors import RemoteError, SpecError, UnknownNameError

TESTS = Path(__file__).parent
SCRIPT = """
import sys
from helpers_engines import write_pid_and_sleep
from skythaw.engines.ray import Ray
with Ray(2) as engine:
    list(engine.map(write_pid_and_sleep, [sys.argv[1]] * 2))
"""


@pytest.fixture(scope="module")
def node():
    with cluster(1, 2) as made:
        yield made


@pytest.mark.slow
def test_an_item_whose_workers_die_again_and_again_is_given_up_and_the_others_go_on(node):
    with Ray(address=node.address) as engine:
        outcomes = {o.item: o for o in engine.map(die_on_three, range(5))}
    assert sorted(outcomes) == list(range(5))
    assert outcomes[3].died
    assert outcomes[3].error.startswith("the worker died, 4 times: WorkerCrashedError: ")
    assert [o.value for x, o in sorted(outcomes.items()) if x != 3] == [0, 1, 2, 4]


@pytest.mark.slow
def test_answers_larger_than_the_store_arrive(node):
    """The store has 80 MB, an answer 60: what does not fit goes over the disk."""
    with Ray(address=node.address) as engine:
        assert [len(o.value) for o in engine.map(big, range(4))] == [60 << 20] * 4


def test_an_item_that_no_node_can_hold_is_an_error_after_some_patience(node, monkeypatch):
    monkeypatch.setattr(placing, "PATIENCE", 0.5)
    monkeypatch.setattr(engine_of_ray, "LOOK", 0.3)
    with Ray(address=node.address) as engine:
        (outcome,) = engine.map(Greedy(), [1])
        assert outcome.error == "no node of the Ray cluster has 1 CPUs, 1 GPUs"
        assert [o.value for o in engine.map(square, [2])] == [4]


def test_no_cluster_at_an_address_is_said_in_one_line():
    for address in ("nowhere", "127.0.0.1:1"):
        with pytest.raises(RemoteError, match=f"no Ray cluster at {address}") as raised:
            Ray(address=address)
        assert "\n" not in str(raised.value)


def test_an_address_is_for_ray_alone():
    with pytest.raises(SpecError, match="the engine processes uses no cluster"):
        open_engine("processes", 1, "127.0.0.1:6379")


def test_ray_that_is_not_installed_is_said_in_one_line(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "ray":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnknownNameError, match=r"pip install 'skythaw\[ray\]'"):
        Ray()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_stopped_driver(tmp_path, how):
    """Ctrl-C leaves no process and no file; kill -9 no process, and files that the next driver removes."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "TMPDIR": folder, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        program = [sys.executable, "-c", "import signal; signal.signal(2, signal.default_int_handler)\n" + SCRIPT]
        driver = subprocess.Popen([*program, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL)
        _wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
        workers = [int(each.name) for each in tmp_path.iterdir()]
        driver.send_signal(how)
        driver.wait(60)
        _wait_for(lambda: not {*workers} & {*processes()} and not [c for c in processes().values() if folder in c])
        left = [path.name for path in Path(folder).iterdir()]
        assert len(left) == (1 if how == signal.SIGKILL else 0)
        if left:
            again = "from skythaw.engines.ray import _make_folder; print(_make_folder().name)"
            made = subprocess.run(
                [sys.executable, "-c", again], env=environment, capture_output=True, text=True, check=True
            )
            assert [path.name for path in Path(folder).iterdir()] == [made.stdout.strip()]


def _wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
