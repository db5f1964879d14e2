"""Shared by all tests. With SKYTHAW_CHECK_SHAPES=1, shapes in annotations are checked while they run.

Jaxtyping with beartype does that. It costs a sixth of the time of tests that train.
"""

from __future__ import annotations

import gc
import io
import os
import secrets
import signal
import subprocess
import sys
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait leave the cores to other tests
import torch

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "docs" / "scripts")]  # what they try is tests too, when small

SHAPED = ("skythaw.tuning", "skythaw.data.network_input", "skythaw.data.views", "skythaw.backbones")
if os.environ.get("SKYTHAW_CHECK_SHAPES") == "1":
    install_import_hook(SHAPED, "beartype.beartype")

from helpers_study import make_survey, write_study  # noqa: E402
from skythaw import registry  # noqa: E402
from skythaw.cli import main  # noqa: E402

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's clusters keep to the loopback interface
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray leaves one in ~/.ray
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
torch.set_num_threads(1)  # threads that wait for each other cost more than these small passes
LONGEST = (
    *("test_terminal", "test_survey_s3", "test_sdss_machine", "test_sdss_reliability", "test_ray_study", "test_cli"),
    *("test_search", "test_study", "test_ray_survey", "test_web_browser", "test_activations", "test_web_server"),
)
"""files that begin first where several processes share the tests, so that none is left alone with one in the end"""
SKYTHAW = [sys.executable, "-m", "skythaw"]


def pytest_collection_finish() -> None:
    """What was imported stays: a cell, which collects garbage before it measures memory, need not look through it."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items) -> None:
    """The longest files first."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """One cache folder for the whole session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(tmp_path) -> Path:
    """A folder with a small survey and a study of it."""
    make_survey(tmp_path / "survey.parquet")
    write_study(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def sky(tmp_path_factory) -> Path:
    """A folder with a survey of enough objects to be sure of something."""
    folder = tmp_path_factory.mktemp("sky")
    make_survey(folder / "survey.parquet", objects=900)
    return folder


@pytest.fixture
def own_engine(monkeypatch):
    """Register an engine as a plug-in would; its name."""

    def register(kind, name="own"):
        module = ModuleType("engine_of_a_test")
        module.KIND = kind
        monkeypatch.setitem(sys.modules, "engine_of_a_test", module)
        monkeypatch.setitem(registry.BUILTIN["engine"], name, "engine_of_a_test:KIND")
        return name

    return register


@pytest.fixture
def skythaw(cache):
    """Run the command line in this process. `skythaw_process` is slower: it loads torch and timm each time.

    Ray confuses clusters that one process has started: its commands need a process of their own.
    """

    def run(*arguments, cwd=None) -> subprocess.CompletedProcess[str]:
        command, code = [str(each) for each in arguments], 0
        out, err = io.StringIO(), io.StringIO()
        with ExitStack() as changed:
            changed.enter_context(patch.dict(os.environ, SKYTHAW_CACHE=str(cache)))
            changed.enter_context(chdir(cwd or Path.cwd()))
            changed.enter_context(redirect_stdout(out))
            changed.enter_context(redirect_stderr(err))
            try:
                main(command)
            except SystemExit as ended:
                code = ended.code
        return subprocess.CompletedProcess(command, code or 0, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def skythaw_process(cache):
    """Run the command line as a user does: in a process of its own."""

    def run(*arguments, cwd=None, timeout=300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SKYTHAW, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "SKYTHAW_CACHE": str(cache)},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    return run
