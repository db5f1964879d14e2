"""No room: memory that is full, an output that takes no more, and no place for temporary files."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from types import SimpleNamespace

import httpx
import numpy as np
import pyarrow as pa
import pytest
import torch

from conftest import SKYTHAW
from helpers_bundle import make_bundle
from helpers_data import files_of_at_most, make
from helpers_study import make_survey
from helpers_web import rules
from skythaw.api.evaluate import evaluate
from skythaw.backbones.network_facts import _keep
from skythaw.data.decode import BrokenImageError, decode
from skythaw.data.pixel_store import open_store
from skythaw.errors import OutputError, SpecError
from skythaw.machine.machine_fault import machine_fault, memory_is_full
from skythaw.machine.numerics import numerics
from skythaw.predict.survey.survey_chunks import find_chunks, items
from skythaw.study.live_epochs import epochs_written, live_epochs
from skythaw.web.tune_process import _Lossy
from skythaw.web.web_app import _said, make_app, open_service

MUCH = 1 << 50
"""bytes that no machine has"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, cache):
    return make_bundle(tmp_path_factory.mktemp("no-room"), cache)


@pytest.fixture
def full(monkeypatch):
    """The machine has no memory left, as far as anybody asks."""
    monkeypatch.setattr("skythaw.machine.machine_fault.ROOM", MUCH)


@pytest.fixture
def nowhere(monkeypatch):
    """There is no place for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])


ASKS = {
    "Python": lambda: bytearray(MUCH),
    "NumPy": lambda: np.ones(MUCH, np.uint8),
    "Arrow": lambda: pa.allocate_buffer(MUCH),
    "torch": lambda: torch.ones(MUCH, dtype=torch.uint8),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_memory_that_is_full_is_one_line_whoever_wants_more(ask):
    with (
        pytest.raises(SpecError, match="the memory of this machine is full: take a smaller batch"),
        numerics(1, 0, "cpu"),
    ):
        ask()
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        ask()
    assert machine_fault(raised.value).startswith("the memory of this machine is full")
    assert _said(raised.value)[0] == 503


def test_other_errors_are_not_taken_for_it():
    for error in (RuntimeError("shapes differ"), OSError(2, "No such file"), ImportError("no module"), ValueError("x")):
        assert not memory_is_full(error)
        assert machine_fault(error) is None


MEAGRE = """
    import resource, sys
    import PIL.Image, pyarrow.compute, pyarrow.parquet, scipy.special, timm, torch
    import skythaw.api.data_functions, skythaw.predict.predict_images
    from skythaw.cli import main

    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20, resource.RLIM_INFINITY))
    main(sys.argv[2:])
"""


@pytest.mark.soak
@pytest.mark.parametrize("command", ["import", "predict"])
def test_a_command_that_runs_out_of_memory_says_so_and_goes_on_when_there_is_more(command, bundle, cache, tmp_path):
    many, out = make_survey(tmp_path / "many.parquet", 600), tmp_path / "out" / "o.parquet"
    out.parent.mkdir()
    arguments = {
        "import": ["data", "import", many, out],
        "predict": ["predict", bundle, many, "-o", out, "--device", "cpu"],
    }[command]

    def run(megabytes):
        line = [sys.executable, "-c", textwrap.dedent(MEAGRE), str(megabytes), *map(str, arguments)]
        environment = {**os.environ, "SKYTHAW_CACHE": str(cache), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.run(line, capture_output=True, text=True, check=False, env=environment)

    done = run(12)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"error: the memory of this machine is full: .*\n", done.stderr)
    assert not out.exists()
    done = run(1 << 20)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in out.parent.iterdir()] == ["o.parquet"]


SPARING = """
    import resource, sys

    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 20, resource.RLIM_INFINITY))
    from skythaw.cli import main

    main(["data", "inspect", sys.argv[2]])
"""


def inspected(megabytes, survey):
    line = [sys.executable, "-c", textwrap.dedent(SPARING), str(megabytes), str(survey)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


def test_a_command_does_not_begin_with_too_few_addresses(tmp_path):
    """Else libraries that are being loaded wait for ever, or crash."""
    survey = make_survey(tmp_path / "s.parquet")
    needed = set()
    for megabytes in (60, 140, 300, 600):
        done = inspected(megabytes, survey)
        found = re.fullmatch(
            rf"error: a process may use {megabytes} MB .* need (\d+) MB to be loaded; .*\n", done.stderr
        )
        assert done.returncode == 2, done.stderr
        assert found, done.stderr
        needed.add(int(found[1]))
    assert len(needed) == 1
    done = inspected(needed.pop(), survey)
    assert done.returncode == 0, done.stderr


def _greedy(*given, **options):
    return bytearray(MUCH)


def test_an_image_is_not_blamed_for_memory_that_is_full(monkeypatch, full):
    """Else it would be left out of a set, or answered with a reason, for good."""
    monkeypatch.setattr("skythaw.data.decode.open_pillow", _greedy)
    with pytest.raises(MemoryError):
        decode(b"\x89PNG a whole image", "x")


def test_an_image_that_asks_for_too_much_is_to_blame(monkeypatch):
    monkeypatch.setattr("skythaw.data.decode.open_pillow", _greedy)
    with pytest.raises(BrokenImageError):
        decode(b"\x89PNG a hostile image", "x")


@pytest.mark.usefixtures("full")
def test_no_row_of_a_survey_is_given_up_for_memory_that_is_full(tmp_path, monkeypatch):
    def lacking(*given):
        raise pa.ArrowMemoryError("malloc of size 64 failed")
        yield

    monkeypatch.setattr("skythaw.predict.survey.survey_chunks.contents_of", lacking)
    chunk = find_chunks([str(make_survey(tmp_path / "s.parquet", 30))], 100).chunks[0]
    with pytest.raises(MemoryError):
        list(items(chunk))


def test_what_is_printed_to_a_full_disk_is_one_line():
    for arguments in (["--version"], ["backbones"]):
        with open("/dev/full", "w") as nothing:  # noqa: PTH123
            done = subprocess.run(
                [*SKYTHAW, *arguments], stdout=nothing, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (done.returncode, done.stderr) == (2, "error: the output can't be written: No space left on device\n")


def no_disk(**_):
    return open("/dev/full", "w+b", buffering=0)  # noqa: PTH123


def no_memory(**_):
    return _greedy()


@pytest.mark.parametrize(("lacking", "sentence"), [(no_disk, "no room on its disk"), (no_memory, "no memory left")])
def test_a_client_is_not_blamed_for_an_upload_that_finds_no_room(lacking, sentence, bundle, monkeypatch):
    """More than 1 MB of an upload goes through a temporary file."""
    app = make_app(open_service([], [bundle], rules(largest=4_000_000)))

    async def sent():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post("/api/v1/bundles/bundle/predict", files={"files": ("a.png", bytes(2_000_000))})

    with monkeypatch.context() as changes:
        changes.setattr(tempfile, "TemporaryFile", lacking)
        answer = asyncio.run(sent())
    assert answer.status_code == 503
    assert sentence in answer.json()["detail"]
    assert answer.headers["retry-after"]
    assert asyncio.run(sent()).status_code == 200


@pytest.mark.usefixtures("nowhere")
def test_without_a_place_for_temporary_files_one_line_says_so(bundle):
    with pytest.raises(OutputError, match=r"temporary files can't be written: .*; let TMPDIR name a folder that has"):
        evaluate(bundle, bundle.parent / "survey.parquet")


WATCHED = SimpleNamespace(tells=True, meanwhile=None), SimpleNamespace(wants_epochs=True)


@pytest.mark.usefixtures("nowhere")
def test_a_study_does_without_what_is_told_of_its_epochs():
    with live_epochs(*WATCHED, {}) as live:
        assert live is None


def test_an_epoch_that_finds_no_room_ends_no_cell():
    told = []
    engine, watcher = WATCHED
    watcher.epoch = lambda planned, number, point: told.append((planned, number, point))
    with live_epochs(engine, watcher, {"key": "cell"}) as live:
        with epochs_written(live.folder, "key") as keep, files_of_at_most(20):
            for epoch in range(4):
                keep({"epoch": epoch})
        with (live.folder / "key.jsonl").open("a") as lines:
            lines.write("\n")  # the part of an epoch that there was room for is a line, and no epoch
        live.look()
        (live.folder / "key.jsonl").unlink()
        live.folder.rmdir()
        live.look()
    assert told == [("cell", 0, {"epoch": 0})]


def test_what_a_run_of_the_start_page_tells_may_be_lost():
    with open("/dev/full", "wb") as full_disk:  # noqa: PTH123
        said = io.TextIOWrapper(_Lossy(full_disk.fileno(), "w", closefd=False), write_through=True)
        print("an epoch", file=said, flush=True)
        said.close()


def test_a_fact_that_finds_no_room_leaves_nothing(tmp_path):
    with files_of_at_most(10):
        _keep(tmp_path / "networks" / "x.json", {"blocks": ["a long name"] * 10})
    assert list((tmp_path / "networks").iterdir()) == []


def test_decoded_images_that_find_no_room_leave_nothing(tmp_path):
    cutouts, cache = make(tmp_path / "c.parquet"), tmp_path / "cache"
    with files_of_at_most(1000), pytest.raises(OutputError, match=r"can't write .*: File too large"):
        open_store(cutouts, cache)
    assert [path.suffix for path in (cache / "pixels").iterdir()] in ([".lock"], [])
    assert len(open_store(cutouts, cache).pixels) == len(cutouts)
