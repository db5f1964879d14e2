"""The contract of every engine, and what only processes can do: die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers_engines import (
    die_on_three,
    die_while_answering,
    fail_on_three,
    overlap,
    pid_after_a_while,
    square,
    write_pid_and_sleep,
)
from skythaw import registry
from skythaw.engines.processes import Processes

TESTS = Path(__file__).parent


@pytest.fixture(params=registry.names("engine"))
def engine(request):
    with registry.get("engine", request.param)(workers=2) as made:
        yield made


def test_every_item_has_one_outcome(engine):
    outcomes = list(engine.map(square, range(7)))
    assert sorted((o.item, o.value) for o in outcomes) == [(x, x * x) for x in range(7)]
    assert all(o.error is None for o in outcomes)


def test_no_items_no_outcomes(engine):
    assert list(engine.map(square, [])) == []


def test_an_exception_is_an_outcome_and_the_others_go_on(engine):
    outcomes = {o.item: o for o in engine.map(fail_on_three, range(6))}
    assert sorted(outcomes) == list(range(6))
    assert [x for x, o in outcomes.items() if o.error] == [3]
    assert "ValueError: three is refused" in outcomes[3].error
    assert "Traceback" in outcomes[3].error


def test_items_are_taken_only_when_a_worker_is_free(engine):
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
    outcomes = {}
    for outcome in Processes(2).map(die_while_answering, range(6)):
        time.sleep(1 if outcome.item < 3 else 0)  # so that the big answer waits in the pipe
        outcomes[outcome.item] = outcome
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


def test_workers_die_with_a_killed_parent(tmp_path):
    script = (
        "import sys; from helpers_engines import write_pid_and_sleep\n"
        "from skythaw.engines.processes import Processes\n"
        "if __name__ == '__main__': list(Processes(2).map(write_pid_and_sleep, [sys.argv[1]] * 2))\n"
    )
    program = tmp_path / "parent.py"
    program.write_text(script)
    pids = tmp_path / "pids"
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, program, pids], env={**os.environ, "PYTHONPATH": str(TESTS)})
    _wait_for(lambda: len(list(pids.iterdir())) == 2)
    parent.kill()
    parent.wait()
    workers = [int(p.name) for p in pids.iterdir()]
    _wait_for(lambda: not any(_alive(pid) for pid in workers))


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
