"""What only a cluster can do: lose workers, lack what an item needs, fill its store; and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from helpers_engines import die_on_three, square
from helpers_ray import Carrying, Greedy, big, cluster, processes, unpackable
from skythaw.engines import node_placement, ray_engine, ray_start
from skythaw.engines.engine import open_engine
from skythaw.engines.ray_engine import Ray
from skythaw.errors import OutputError, RemoteError, SpecError, UnknownNameError

TESTS = Path(__file__).parent
SCRIPT = """
import sys
from helpers_engines import write_pid_and_sleep
from skythaw.engines.ray_engine import Ray
with Ray(2) as engine:
    list(engine.map(write_pid_and_sleep, [sys.argv[1]] * 2))
"""


@pytest.fixture(scope="module")
def node():
    with cluster(1, 2) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch):
    """What can't be had is given up soon."""
    monkeypatch.setattr(node_placement, "PATIENCE", 0.5)
    monkeypatch.setattr(ray_engine, "LOOK", 0.3)


@pytest.mark.soak
def test_an_item_whose_workers_die_again_and_again_is_given_up_and_the_others_go_on(node):
    with Ray(address=node.address) as engine:
        outcomes = {o.item: o for o in engine.map(die_on_three, range(5))}
    assert sorted(outcomes) == list(range(5))
    assert outcomes[3].died
    assert outcomes[3].error.startswith("the worker died, 4 times: WorkerCrashedError: ")
    assert [o.value for x, o in sorted(outcomes.items()) if x != 3] == [0, 1, 2, 4]


@pytest.mark.soak
def test_answers_larger_than_the_store_arrive(node):
    """The store has 80 MB, an answer 60: what does not fit goes over the disk."""
    with Ray(address=node.address) as engine:
        assert [len(o.value) for o in engine.map(big, range(4))] == [60 << 20] * 4


@pytest.mark.soak
def test_an_item_that_no_node_can_hold_is_an_error_after_some_patience(node, impatient):
    with Ray(address=node.address) as engine:
        (outcome,) = engine.map(Greedy(), [1])
        assert outcome.error == "no node of the Ray cluster has 1 CPUs, 1 GPUs"
        assert [o.value for o in engine.map(square, [2])] == [4]


@pytest.mark.soak
def test_items_like_one_that_was_given_up_are_given_up_at_once(node, impatient):
    with Ray(address=node.address) as engine:
        start, outcomes = None, []
        for outcome in engine.map(Greedy(), range(200)):
            outcomes.append(outcome)
            start = start or time.monotonic()
        assert time.monotonic() - start < 100 * ray_engine.LOOK
    assert [o.error for o in outcomes] == ["no node of the Ray cluster has 1 CPUs, 1 GPUs"] * 200


@pytest.mark.soak
def test_a_cluster_without_nodes_is_said_once(impatient):
    said = pytest.raises(RemoteError, match="the Ray cluster has had no node that works for")
    with cluster(0) as head, Ray(address=head.address) as engine, said:
        list(engine.map(square, range(3)))


@pytest.mark.soak
def test_what_can_not_be_received_is_an_outcome(node):
    with Ray(address=node.address) as engine:
        outcomes = {o.item: o for o in engine.map(unpackable, range(3))}
    assert "it can't be unpacked here" in outcomes[1].error
    assert not outcomes[1].died
    assert (outcomes[0].value, outcomes[2].value) == (0, 2)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "ray://127.0.0.1:1", "local"])
def test_no_cluster_at_an_address_is_said_in_one_line(address):
    with pytest.raises(RemoteError, match=f"no Ray cluster at {address}") as raised:
        Ray(address=address)
    assert "\n" not in str(raised.value)


@pytest.mark.soak
def test_one_engine_at_a_time(node):
    with Ray(address=node.address) as engine:
        for address in (None, node.address, "127.0.0.1:1"):
            with pytest.raises(RemoteError, match="this process uses Ray already"):
                Ray(address=address)
        assert [o.value for o in engine.map(square, [2])] == [4]


LISTENING = """
import os
from ray._private import ray_constants
from helpers_engines import square
from helpers_ray import LOOPBACK, listening, processes
from skythaw.engines.ray_engine import Ray
ray_constants.ENABLE_RAY_CLUSTER = True  # of Ray itself, which has no public way
with Ray(1) as engine:
    assert [o.value for o in engine.map(square, [2])] == [4]
    ours = [pid for pid, command in processes().items() if os.environ["TMPDIR"] in command]
    found = listening([*ours, os.getpid()])
assert len(ours) > 2 and found and found <= LOOPBACK, found
assert ray_constants.ENABLE_RAY_CLUSTER
"""


@pytest.mark.soak
def test_a_cluster_of_ours_listens_on_the_loopback_interface_alone():
    """Though Ray was imported before, and told otherwise. (In a process of its own: Ray confuses clusters in one.)"""
    known = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {**known, "TMPDIR": folder, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        command = [sys.executable, "-c", LISTENING]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.soak
def test_a_disk_too_full_for_a_shared_file_is_said_in_one_line(node, tmp_path, monkeypatch):
    import ray

    def full(_):
        raise ray.exceptions.OutOfDiskError("the disk is full:\n  97 %")

    file = tmp_path / "data.parquet"
    file.write_bytes(b"x")
    with Ray(address=node.address) as engine:
        monkeypatch.setattr(ray, "put", full)
        with pytest.raises(
            OutputError, match=r"can't give .*data\.parquet to the Ray cluster: .*the disk is full: 97 %"
        ):
            engine.share(file)


@pytest.mark.soak
def test_a_shared_file_larger_than_the_store_arrives(node, tmp_path):
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(1 << 20) * 150)
    content = file.read_bytes()
    with Ray(address=node.address) as engine:
        shared = engine.share(file)
        file.rename(tmp_path / "gone")
        (outcome,) = engine.map(Carrying(shared, tmp_path / "cache"), [0])
    assert outcome.error is None, outcome.error
    assert outcome.value[1] == content


@pytest.mark.soak
def test_outcomes_that_outlive_the_engine_start_no_other_cluster(node):
    """Ray starts one by itself for whatever is asked of it."""
    import ray

    with Ray(address=node.address) as engine:
        outcomes = engine.map(square, range(50))
        next(outcomes)
    outcomes.close()
    assert not ray.is_initialized()


def test_an_address_is_for_ray_alone():
    with pytest.raises(SpecError, match="the engine processes uses no cluster"):
        open_engine("processes", 1, "127.0.0.1:6379")


def test_ray_that_is_not_installed_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnknownNameError, match=r"pip install 'skythaw\[ray\]'"):
        Ray()


@pytest.mark.soak
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
            another = make_another(folder).stdout.strip()
            assert [path.name for path in Path(folder).iterdir()] == [another]


def make_another(folder):
    """What the next driver makes there, in a process of its own."""
    again = "from skythaw.engines.ray_start import make_folder; print(make_folder()[0].name)"
    environment = os.environ | {"TMPDIR": folder}
    return subprocess.run([sys.executable, "-c", again], env=environment, capture_output=True, text=True, check=True)


def test_the_folder_of_a_driver_that_lives_stays(monkeypatch):
    """Also where its process can't be seen, as from another container with the same temporary folder."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        monkeypatch.setattr(ray_start.tempfile, "gettempdir", lambda: folder)
        made, lock = ray_start.make_folder()
        another = make_another(folder).stdout.strip()
        assert {path.name for path in Path(folder).iterdir()} == {made.name, another}
        lock.release()
        make_another(folder)
        assert not made.exists()


@pytest.mark.soak
@pytest.mark.parametrize("after", [0.0, 1.0])
def test_control_c_while_ray_starts_ends_it(tmp_path, after):
    """Nothing runs on; what processes that were just starting may still have written goes with the next start."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "TMPDIR": folder, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        program = [sys.executable, "-c", "import signal; signal.signal(2, signal.default_int_handler)\n" + SCRIPT]
        with subprocess.Popen([*program, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL) as driver:
            _wait_for(lambda: list(Path(folder).glob("skythaw-ray-*")))
            time.sleep(after)
            for _ in range(3):  # Python may lose one that comes in a destructor
                driver.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    driver.wait(20)
                    break
            assert driver.returncode not in (None, 0)
        _wait_for(lambda: not [c for c in processes().values() if folder in c])
        another = make_another(folder).stdout.strip()
        assert [path.name for path in Path(folder).glob("skythaw*")] == [another]


def _wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
