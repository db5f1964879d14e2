"""The contract of every engine, and what only processes can do: die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from helpers_engines import (
    chance,
    die_on_three,
    die_while_answering,
    fail_on_three,
    overlap,
    pid_after_a_while,
    square,
    surroundings,
    threads,
    write_pid_and_sleep,
)
from helpers_study import write_study
from skythaw import registry
from skythaw.engines import fork_server
from skythaw.engines.fork_server import running_server
from skythaw.engines.processes import Processes

TESTS = Path(__file__).parent
AFRESH = "processes, each started afresh"
forks = pytest.mark.skipif(not fork_server.AVAILABLE, reason="there is no fork server on this system")


@pytest.fixture(scope="class", params=[*registry.names("engine"), AFRESH])
def engine(request):
    """One engine for the whole contract: what a test did to it must not harm the next."""
    if request.param == AFRESH:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fork_server, "AVAILABLE", False)
            with Processes(2) as made:
                yield made
        return
    with registry.get("engine", request.param)(workers=2) as made:
        yield made


class TestContract:
    """What every engine does."""

    def test_every_item_has_one_outcome(self, engine):
        outcomes = list(engine.map(square, range(7)))
        assert sorted((o.item, o.value) for o in outcomes) == [(x, x * x) for x in range(7)]
        assert all(o.error is None for o in outcomes)

    def test_no_items_no_outcomes(self, engine):
        assert list(engine.map(square, [])) == []

    def test_an_exception_is_an_outcome_and_the_others_go_on(self, engine):
        outcomes = {o.item: o for o in engine.map(fail_on_three, range(6))}
        assert sorted(outcomes) == list(range(6))
        assert [x for x, o in outcomes.items() if o.error] == [3]
        assert "ValueError: three is refused" in outcomes[3].error
        assert "Traceback" in outcomes[3].error

    def test_items_are_taken_only_when_a_worker_is_free(self, engine):
        """What is claimed must be run: an engine may not read ahead."""
        taken = []

        def items():
            for x in range(10):
                taken.append(x)
                yield x

        results = engine.map(square, items())
        next(results)
        assert len(taken) <= engine.workers
        results.close()


def test_workers_run_at_the_same_time_and_are_used_again(tmp_path):
    with Processes(2) as engine:
        assert max(o.value for o in engine.map(overlap, [str(tmp_path)] * 4)) == 2
        first = {o.value for o in engine.map(pid_after_a_while, range(6))}
        again = {o.value for o in engine.map(pid_after_a_while, range(6))}
    assert len(first) == 2
    assert first == again
    assert not [pid for pid in first if _alive(pid)]


def test_a_killed_worker_costs_its_item_alone():
    outcomes = {o.item: o for o in Processes(2).map(die_on_three, range(8))}
    assert sorted(outcomes) == list(range(8))
    assert outcomes[3].error == "the worker process died: killed by SIGKILL (out of memory?)"
    assert all(o.error is None for x, o in outcomes.items() if x != 3)


def test_a_worker_killed_in_the_middle_of_its_answer_costs_its_item_alone():
    outcomes = {outcome.item: outcome for outcome in Processes(2).map(die_while_answering, range(6))}
    assert sorted(outcomes) == list(range(6))
    assert "the worker process died" in outcomes[3].error
    assert all(o.error is None for x, o in outcomes.items() if x != 3)


def test_closing_stops_the_workers(tmp_path):
    results = Processes(2).map(write_pid_and_sleep, [str(tmp_path)] * 2)
    threading.Thread(target=_interrupt_when, args=(tmp_path, 2), daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    pids = [int(p.name) for p in tmp_path.iterdir()]
    assert len(pids) == 2
    assert not [pid for pid in pids if _alive(pid)]


@pytest.mark.soak
@pytest.mark.parametrize("loading", [False, True], ids=["at work", "while the libraries are loaded"])
def test_a_killed_parent_leaves_no_process(tmp_path, loading):
    pids = tmp_path / "pids"
    pids.mkdir()
    lines = "if __name__ == '__main__': list(Processes(2).map(write_pid_and_sleep, [sys.argv[1]] * 2))\n"
    with _script(tmp_path, "from helpers_engines import write_pid_and_sleep\n" + lines, pids) as parent:
        _wait_for(lambda: len(_processes_in(tmp_path)) > 1 if loading else len(list(pids.iterdir())) == 2)
        assert len(_processes_in(tmp_path)) > (1 if loading else 2)
        parent.kill()
    _wait_for(lambda: not _processes_in(tmp_path))


@forks
def test_the_server_has_one_thread_and_its_workers_have_as_many_as_others(monkeypatch):
    with Processes(1) as engine:
        (forked,) = engine.map(threads, [0])
        server = running_server().process.pid
        assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1
    monkeypatch.setattr(fork_server, "AVAILABLE", False)
    with Processes(1) as engine:
        (afresh,) = engine.map(threads, [0])
    assert forked.value == afresh.value
    assert forked.value[1] is False, "nothing has touched a GPU"


@pytest.mark.soak
@forks
def test_engines_share_a_server_and_a_killed_one_is_replaced():
    first = running_server()
    with Processes(1) as one, Processes(1) as two:
        assert [o.value for o in one.map(square, [2])] + [o.value for o in two.map(square, [3])] == [4, 9]
        assert running_server() is first
        first.process.kill()
        first.process.wait()
        assert [o.value for o in one.map(square, [4])] == [16], "its workers go on"
        assert {o.item: o.error for o in two.map(die_on_three, [3])} == {
            3: "the worker process died: for a reason that is not known"
        }
        assert [o.value for o in two.map(square, [5])] == [25], "there is a new one"
    assert running_server() is not first


@pytest.mark.parametrize("forked", [pytest.param(True, marks=forks), False])
def test_workers_see_what_the_parent_sees_when_they_start(tmp_path, monkeypatch, forked):
    """Environment, folder and paths; a library's variable takes a new server, another variable does not."""
    monkeypatch.setattr(fork_server, "AVAILABLE", forked)
    names = ("SKYTHAW_TEST", "HOME", "OMP_NUM_THREADS")
    before = running_server() if forked else None
    monkeypatch.setenv("SKYTHAW_TEST", "seen")
    monkeypatch.delenv("HOME")
    monkeypatch.chdir(tmp_path)
    with Processes(1) as engine:
        (outcome,) = engine.map(surroundings, [names])
    assert outcome.value[0] == {"SKYTHAW_TEST": "seen", "HOME": None, "OMP_NUM_THREADS": os.environ.get(names[2])}
    assert outcome.value[1:] == (str(tmp_path), sys.path)
    assert not forked or running_server() is before
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Processes(1) as engine:
        (outcome,) = engine.map(surroundings, [names])
    assert outcome.value[0]["OMP_NUM_THREADS"] == "3"
    assert outcome.value[2][0] == str(tmp_path)
    assert not forked or running_server() is not before


def test_workers_do_not_share_chance():
    with Processes(2) as engine:
        values = [o.value for o in engine.map(chance, range(4))]
    assert len({one for one, _ in values}) == len({other for _, other in values}) == 4


@pytest.mark.soak
def test_the_command_that_runs_a_study_needs_no_torch(here):
    """Its workers have it from the server. That holds for networks that the cache folder knows nothing of, too."""
    changes = {"timm:test_efficientnet": "mobilenetv2", '"0%", "50%", "100%"': '"50%"', "epochs = 7": "epochs = 1"}
    write_study(here, replace=changes)
    lines = (
        "import sys; from skythaw.cli import main\n"
        "try: main(['--cache', 'cache', 'study', 'run', 'study.toml', '--out', 'run', '--device', 'cpu'])\n"
        "finally: print({'torch', 'timm'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", lines], cwd=here, capture_output=True, text=True, check=False)
    assert "2 of 2 cells are done" in found.stdout, found.stderr
    assert found.stdout.splitlines()[-1] == "set()"
    assert list((here / "cache" / "networks").glob("mobilenetv2-*"))


GUARD = "if __name__ == '__main__': "
MAIN = "def double(x): return 2 * x\n"
ANSWER = "print([o.value if o.error is None else o.died for o in Processes(2).map(double, [4])])\n"


@pytest.mark.parametrize(("guard", "said"), [(GUARD, "[8]"), ("", "[True]")], ids=["guarded", "not guarded"])
def test_functions_of_a_script_can_be_mapped(tmp_path, guard, said):
    """A script without the usual guard would start workers in each worker: they end instead, and their items fail."""
    with _script(tmp_path, MAIN + guard + ANSWER) as parent:
        assert parent.communicate(timeout=60)[0].strip() == said
    _wait_for(lambda: not _processes_in(tmp_path))


def test_what_is_of_no_script_is_mapped_without_the_script(tmp_path):
    """So a script that calls skythaw needs no guard: no worker runs it again."""
    lines = "print('runs')\nprint(sorted(o.value for o in Processes(2).map(abs, [-3, -4])))\n"
    with _script(tmp_path, lines) as parent:
        assert parent.communicate(timeout=60)[0].splitlines() == ["runs", "[3, 4]"]


def test_one_engine_maps_functions_of_a_library_and_of_a_script(tmp_path):
    lines = "e = Processes(1)\nprint([o.value for f in (abs, double, abs) for o in e.map(f, [-3])])\n"
    with _script(tmp_path, MAIN + GUARD + "exec(" + repr(lines) + ")\n") as parent:
        assert parent.communicate(timeout=60)[0].strip() == "[3, -6, 3]"


@forks
def test_a_process_forked_from_the_parent_leaves_the_server_alone(tmp_path):
    lines = (
        "import os\n"
        "from skythaw.engines.fork_server import running_server\n"
        "def work():\n"
        "    server = running_server()\n"
        "    if os.fork() == 0: sys.exit()\n"
        "    os.wait()\n"
        "    print(running_server() is server, [o.value for o in Processes(1).map(abs, [-3])])\n"
    )
    with _script(tmp_path, lines + GUARD + "work()\n") as parent:
        assert parent.communicate(timeout=60)[0].strip() == "True [3]"


@contextmanager
def _script(folder, lines, *arguments):
    """A program that uses the engine, in a process of its own that runs in the folder."""
    program = folder / "program.py"
    program.write_text("import sys\nfrom skythaw.engines.processes import Processes\n" + lines)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, program, *arguments]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield process


def _processes_in(folder):
    """The processes whose current folder it is, but zombies."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder and _alive(process.name):
                found.append(process.name)
    return found


def _interrupt_when(folder, count):
    _wait_for(lambda: len(list(folder.iterdir())) == count)
    os.kill(os.getpid(), signal.SIGINT)


def _wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _alive(pid):
    """Running, and not a zombie that its new parent has yet to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_that_died_while_it_was_idle_costs_no_item():
    with Processes(1) as engine:
        (first,) = engine.map(pid_after_a_while, [1])
        os.kill(first.value, signal.SIGKILL)
        _wait_for(lambda: not _alive(first.value))
        outcomes = list(engine.map(pid_after_a_while, [2, 3]))
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert first.value not in {outcome.value for outcome in outcomes}
