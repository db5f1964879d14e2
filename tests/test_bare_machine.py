"""`benchmarks/gpu.sh` on a machine with torch, timm, pyarrow and scikit-learn, and without a network or skythaw."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from types import SimpleNamespace

import pytest
from kernel_share import busy
from packaging.requirements import Requirement
from torch.autograd import DeviceType
from unpack_wheels import main as unpack

from helpers_study import write_study

ROOT = Path(__file__).parents[1]
BARE = ["torch", "timm", "pyarrow", "scikit-learn"]
TESTED_WITH = ["pytest", "pytest-timeout", "hypothesis", "beartype"]
NOT_INSTALLED = """
from importlib.metadata import Distribution, PackageNotFoundError

GIVEN = Distribution.from_name.__func__


def from_name(cls, name):
    if name == "skythaw":
        raise PackageNotFoundError(name)
    return GIVEN(cls, name)


Distribution.from_name = classmethod(from_name)
"""


def closure(names):
    """These packages, and all that they need."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            needed = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # which this machine does without
            continue
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def test_the_wheels_are_of_all_that_a_bare_machine_lacks():
    lines = (ROOT / "benchmarks" / "bare_packages.txt").read_text().splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lacked = closure([*(Requirement(each).name for each in core), *TESTED_WITH]) - closure(BARE)
    assert lacked <= listed, sorted(lacked - listed)


def test_wheels_of_what_this_python_has_are_left_alone(tmp_path):
    wheels = []
    for name in ("numpy", "no_such_package"):
        wheels.append(tmp_path / f"{name}-1.0-py3-none-any.whl")
        with zipfile.ZipFile(wheels[-1], "w") as archive:
            archive.writestr(f"{name}/__init__.py", "")
    unpack(str(tmp_path / "out"), *map(str, wheels))
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["no_such_package"]


def event(key, seconds, device=DeviceType.CUDA):
    return SimpleNamespace(key=key, device_type=device, self_device_time_total=1e6 * seconds)


def test_the_time_in_kernels_has_no_copies_and_counts_none_twice():
    launch = event("cudaLaunchKernel", 3.0, DeviceType.CPU)  # what a kernel took is told of who launched it, too
    copies = [event("Memcpy HtoD (Pageable -> Device)", 9.0), event("Memset (Device)", 9.0)]
    seen = SimpleNamespace(key_averages=lambda: [launch, *copies, event("sgemm", 1.0), event("cudnn::conv", 2.0)])
    assert busy(seen, gpu=True) == 3.0


@pytest.mark.soak
def test_a_study_runs_where_skythaw_is_not_installed(here, cache):
    write_study(here, replace={"seed = [0, 1]": "seed = [0]"})
    (here / "sitecustomize.py").write_text(NOT_INSTALLED)
    paths = os.pathsep.join([str(here), str(ROOT / "src")])

    def skythaw(*words):
        environment = {**os.environ, "PYTHONPATH": paths, "SKYTHAW_CACHE": str(cache)}
        command = [sys.executable, "-m", "skythaw", *words]
        ran = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert skythaw("--version") == "skythaw unknown\n"
    skythaw("study", "run", "study.toml", "--out", "run")
    skythaw("report", "run", "--html", "report.html")
    skythaw("export", "run", "bundle")
    skythaw("predict", "bundle", "survey.parquet", "-o", "said.csv")
