"""What docs/reliability.md promises of the SDSS source, by the numbers it uses there."""

from __future__ import annotations

import bisect
import json
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers_sdss import images, requests_of, truth, write_catalog
from sdss_server import serving
from sdss_universe import Universe
from skythaw.data.sources.sdss.missing_reasons import Reason

FAULTS = {
    **{"html503": 0.05, "rate429": 0.02, "cut": 0.02, "html200": 0.01},
    **{"outside404": 0.01, "black200": 0.01, "hang": 0.005},
}


def command(out, url, *options):
    return [sys.executable, "-m", "skythaw", "data", "sdss", str(out), "--base-url", url, *map(str, options)]


def peak_memory(process) -> int:
    """The most memory that a running process has had, bytes. (`ru_maxrss` would count what its parent had.)"""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def run(out, url, *options):
    """The command to its end, and the most memory it had, in bytes."""
    most = 0
    with subprocess.Popen(command(out, url, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            most = max(most, peak_memory(process))
            time.sleep(0.02)
        text, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0, errors
    return json.loads(text), most


@pytest.mark.soak
def test_t1_t3_t4_every_object_of_a_faulty_service(tmp_path):
    objects = 10_000
    universe = Universe(objects, 3, FAULTS)
    sky = {"objects": objects, "seed": 3, "faults": FAULTS, "log": str(tmp_path / "log"), "retry_after": "0.1"}
    out, rate = tmp_path / "a.parquet", 400
    options = ["--total", objects, "--rate", rate, "--workers", 16, "--timeout", 3, "--json"]
    options += ["--contact", "me@example.org"]
    with serving(sky) as url:
        found, memory = run(out, url, *options)
        first = requests_of(tmp_path / "log")
        found, _ = run(out, url, *options)
        again = requests_of(tmp_path / "log")[len(first) :]
        content = out.read_bytes()
        run(out, url, *options)
    assert images(out) == truth(universe), "every fetchable image is there, and the true one"
    assert found["fetched"] == len(truth(universe))
    assert set(found["rejected"]) <= {reason.value for reason in Reason}
    assert found["fetched"] + sum(found["rejected"].values()) == found["asked"] == objects
    assert memory < 500e6
    assert len(again) < objects / 50 + 20, "what is done is not asked for again"
    assert requests_of(tmp_path / "log")[len(first) + len(again) :] == [], "T4: all done, nothing asked"
    assert out.read_bytes() == content
    times = sorted(line["t"] for line in first)
    for window in (1, 5, 60):
        most = max(bisect.bisect(times, start + window) - i for i, start in enumerate(times))
        assert most <= rate * window + 16, f"T3: {most} requests within {window} s"
    assert all(line["agent"].startswith("skythaw/") and "me@example.org" in line["agent"] for line in first)


@pytest.mark.soak
def test_t2_kills_lose_nothing(tmp_path):
    kills = 50
    sky = {"objects": 2_000, "seed": 5, "faults": {"html503": 0.05, "cut": 0.02, "outside404": 0.01}}
    options, workers = ["--total", 30 * kills, "--workers", 4, "--json"], 4
    whole, killed, log = tmp_path / "whole.parquet", tmp_path / "killed.parquet", tmp_path / "log"
    with serving({**sky, "retry_after": "0.1"}) as url:
        run(whole, url, "--rate", 1000, *options)
    rng = random.Random(0)
    with serving({**sky, "retry_after": "0.1", "log": str(log)}) as url:
        for kill in range(kills):
            process = subprocess.Popen(
                command(killed, url, "--rate", 60, *options), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            if kill % 5 == 4:  # as it starts, too
                time.sleep(rng.uniform(0.1, 1.5))
            else:
                enough = len(requests_of(log)) + rng.randint(5, 20)
                wait_until(lambda n=enough: len(requests_of(log)) > n)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, process.stderr.read()
            process.stderr.close()
            assert not killed.exists(), "nothing under the final name"
        asked = requests_of(log)
        run(killed, url, "--rate", 1000, *options)
    assert killed.read_bytes() == whole.read_bytes()
    served: dict[int, int] = {}
    for line in requests_of(log):
        if line["object"] is not None and line["status"] == 200 and line["fault"] is None:
            served[line["object"]] = served.get(line["object"], 0) + 1
    assert sum(count - 1 for count in served.values()) <= kills * workers
    assert len({line["object"] for line in asked}) > 2 * kills, "the kills came while images were fetched"


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("folder", ["/sys", "no-folder"])
def test_t5_a_place_that_cannot_be_written_is_one_clear_line(folder, tmp_path, skythaw):
    (tmp_path / "no-folder").write_text("a file")
    out = tmp_path / folder / "a.parquet"  # an absolute folder stays as it is
    done = skythaw("data", "sdss", out, "--total", 3, "--base-url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: can't write {out}.sdss")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.soak
def test_t5_a_full_disk_leaves_nothing_half_written_and_the_next_run_goes_on(tmp_path):
    universe = Universe(300, 6)
    catalog = write_catalog(tmp_path / "c.csv", universe)
    out = tmp_path / "a.parquet"

    def little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    with serving({"objects": 300, "seed": 6}) as url:
        options = ["--catalog", str(catalog), "--rate", 1000, "--json"]
        done = subprocess.run(
            command(out, url, *options), preexec_fn=little_room, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: can't write ")
        assert not out.exists()
        found, _ = run(out, url, *options)
    assert found["fetched"] == 300
    assert sorted(images(out).values()) == sorted(truth(universe).values())


@pytest.mark.soak
def test_memory_does_not_grow_with_the_set(tmp_path):
    """They are listed, and fetching begins."""
    with (tmp_path / "c.csv").open("w") as file:
        file.write("object_id,ra,dec,label,note\n")
        for i in range(300_000):
            file.write(f"o{i},{i % 360}.5,{i % 90}.25,STAR,{'x' * 60}\n")
    with serving({"objects": 10, "seed": 1, "log": str(tmp_path / "log")}) as url:
        process = subprocess.Popen(
            command(tmp_path / "a.parquet", url, "--catalog", tmp_path / "c.csv", "--rate", 1000),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(requests_of(tmp_path / "log")) < 1000:
            assert process.poll() is None
            time.sleep(0.5)
        assert 0 < peak_memory(process) < 500e6
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
