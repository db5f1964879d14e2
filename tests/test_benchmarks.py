"""The benchmarks name nothing that skythaw no longer has: they run too long for the tests to run them."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def imported():
    """File, module and name of everything that a benchmark takes from skythaw."""
    for file in sorted(BENCHMARKS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "skythaw":
                yield from ((file.name, node.module, each.name) for each in node.names)


def test_all_that_benchmarks_import_is_there():
    found = list(imported())
    assert len(found) > 100
    assert [each for each in found if not is_there(*each[1:])] == []


def is_there(module, name):
    if hasattr(import_module(module), name):
        return True
    try:
        import_module(f"{module}.{name}")
    except ImportError:
        return False
    return True
