"""No version with a known hole is allowed, and constraints.txt holds versions that are allowed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
SAFE = {
    "torch": ("2.6", "CVE-2025-32434: weights_only=True could be passed by; of CVE-2026-24747 see test_checkpoints.py"),
    "pillow": ("12.2", "CVE-2026-40192: a FITS file could fill the memory"),
    "filelock": ("3.20.3", "CVE-2025-68146, CVE-2026-22701: a planted link was followed"),
    "jinja2": ("3.1.6", "CVE-2025-27516: out of the sandbox"),
    "scikit-learn": ("1.5", "CVE-2024-5206: words of the training data were kept"),
    "tqdm": ("4.66.3", "CVE-2024-34062: options were evaluated"),
    "onnx": ("1.21", "CVE-2026-27489, CVE-2026-34445: files outside of the model"),
    "ray": ("2.55", "CVE-2026-27482, CVE-2026-32981: the dashboard"),
    "starlette": ("1.3.1", "CVE-2026-54283: limits of forms were not kept"),
    "python-multipart": ("0.0.31", "CVE-2026-42561: headers without a limit"),
    "h11": ("0.16", "CVE-2025-43859: requests could be smuggled"),
}
"""the first version without known holes, and the last of these"""


def wanted() -> list[Requirement]:
    """What the package and its extras ask for; not what names the package itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = [*project["dependencies"], *(each for some in project["optional-dependencies"].values() for each in some)]
    return [one for each in every if (one := Requirement(each)).name != "skythaw"]


def pinned() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("name", SAFE)
def test_the_oldest_version_that_is_allowed_has_no_known_hole(name):
    floors = [
        spec.version for each in wanted() if each.name == name for spec in each.specifier if spec.operator == ">="
    ]
    assert floors, f"{name} has no floor in pyproject.toml"
    assert all(Version(floor) >= Version(SAFE[name][0]) for floor in floors), SAFE[name][1]


UNTESTED = {"mlflow-skinny", "tensorboard", "trackio"}
"""what no test needs: see `skythaw.api.trackers`"""


def test_the_tested_set_holds_all_that_is_asked_for_in_versions_that_are_allowed():
    known = pinned()
    for each in wanted():
        name = canonicalize_name(each.name)
        if name not in UNTESTED:
            assert name in known, f"{name} is not in constraints.txt"
        if name in known:
            assert each.specifier.contains(known[name], prereleases=True), f"{each}: constraints.txt has {known[name]}"


def test_the_tested_set_is_what_make_installs():
    assert "--constraint constraints.txt" in (ROOT / "Makefile").read_text()
