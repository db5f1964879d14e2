"""T11: nothing in the package unpickles, or runs what it reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import skythaw

SOURCES = sorted(Path(skythaw.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
CALLS = {"eval", "exec", "yaml.load", "yaml.unsafe_load", "joblib.load", "os.system"}


def name_of(node: ast.expr) -> str:
    """The dotted name of what is called."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def faults(source: str) -> list[str]:
    """What in a module would run foreign code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += [name for name in names if name.partition(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        called = name_of(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        loads = called in ("torch.load", "np.load", "numpy.load")
        unsafe = options.get("weights_only") != "True" if called == "torch.load" else "allow_pickle" in options
        if called in CALLS or (loads and unsafe):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_module_unpickles(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "eval(text)",
    ],
)
def test_it_would_be_seen(source):
    assert faults(source)
