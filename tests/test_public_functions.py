"""Every command is a function of `skythaw` with the same names and defaults; the examples of the library run."""

from __future__ import annotations

import doctest
import pkgutil
import subprocess
import sys
from importlib import import_module
from inspect import Parameter, getdoc, signature

import pytest

import skythaw
from skythaw.cli import app

PUBLIC = {
    "backbones": skythaw.backbones,
    "blocks": skythaw.blocks,
    "data mock": skythaw.make_mock,
    "data import": skythaw.import_images,
    "data sdss": skythaw.fetch_sdss,
    "data cutouts": skythaw.fetch_cutouts,
    "data inspect": skythaw.inspect,
    "data verify": skythaw.verify,
    "study plan": skythaw.plan_study,
    "study run": skythaw.run_study,
    "study search": skythaw.search,
    "study status": skythaw.study_status,
    "report": skythaw.report,
    "export": skythaw.export,
    "predict": skythaw.predict,
    "explain": skythaw.explain,
    "tune": skythaw.tune,
    "study init": skythaw.init_study,
    "evaluate": skythaw.evaluate,
    "features": skythaw.features,
    "push": skythaw.push,
}
ONLY_COMMANDS = {"serve": "it listens until it is stopped", "demo": "it tells a story of the other commands"}
PRINTING = {"context", "as_json", "wide"}
"""what a command has besides: how it prints"""
NAMES = {"study_file": "study", "run_folder": "run"}
"""names of arguments that are places, not options"""
OURS = {"cache", "progress", "on_cell", "on_epoch"}
"""what a function has besides: the folder that `skythaw --cache` names, and who is told"""


def commands(of=app, before=""):
    """Every command by its name, and its function."""
    for each in of.registered_commands:
        yield f"{before}{each.name or each.callback.__name__}", each.callback
    for group in of.registered_groups:
        yield from commands(group.typer_instance, f"{before}{group.name} ")


def test_every_command_has_a_function():
    assert {name for name, _ in commands()} == {*PUBLIC, *ONLY_COMMANDS}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_function_has_the_names_and_defaults_of_its_command(name):
    command, function = (signature(each).parameters for each in (dict(commands())[name], PUBLIC[name]))
    wanted = {NAMES.get(each, each): p.default for each, p in command.items() if each not in PRINTING}
    assert wanted.keys() == function.keys() - OURS
    for each, default in wanted.items():
        if default is not Parameter.empty:
            assert function[each].default == default, each
        elif each != "out":  # what must be given on the command line; the picture of an explanation need not in Python
            assert function[each].default is Parameter.empty, each


@pytest.mark.parametrize("name", skythaw.__all__)
def test_a_public_name_is_documented(name):
    found = getattr(skythaw, name)
    text = getdoc(getattr(found, "__wrapped__", found))
    assert text
    assert name in dir(skythaw)
    function = getattr(found, "__wrapped__", found)
    if not isinstance(function, type) and signature(function).parameters:
        assert "Parameters" in text


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(AttributeError, match="has no attribute 'tuna'; it has CellEvent"):
        skythaw.tuna  # noqa: B018


def test_a_room_is_a_function_whatever_was_imported_first():
    lines = "import skythaw.report.figures, skythaw; print(callable(skythaw.report), skythaw.report.figures.__name__)"
    found = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert found.stdout == "True skythaw.report.figures\n"


def test_importing_skythaw_loads_nothing_heavy():
    lines = "import sys, skythaw; print({'torch', 'numpy', 'pyarrow', 'pandas', 'typer'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


ROOMS = ("skythaw.api", "skythaw.bundle", "skythaw.explain", "skythaw.report", "skythaw.spec", "skythaw.web")
MODULES = sorted(
    {
        each.name
        for room in ROOMS
        for each in pkgutil.iter_modules(import_module(room).__path__, f"{room}.")
        if not each.ispkg
    }
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module, cache, monkeypatch):
    monkeypatch.setenv("SKYTHAW_CACHE", str(cache))
    found = doctest.testmod(import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not found.failed
