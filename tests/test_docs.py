"""The documentation tells the truth: links, commands, keys and defaults, the tree."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from skythaw.spec import Data, Grid, Recipe, Split, Study

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    targets = [t for t in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in t]
    missing = [t for t in targets if not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_path_of_a_machine(page):
    assert not re.findall(r"(?<![\w.])/(?:work|root|home|tmp)/", page.read_text())


def test_the_commands_page_is_what_help_says():
    """Make it again: python docs/scripts/commands.py > docs/commands.md"""
    assert (ROOT / "docs" / "commands.md").read_text() == script("commands").page()


def test_the_tree_in_the_readme_is_the_tree():
    """Make it again: python docs/scripts/tree.py"""
    readme = (ROOT / "README.md").read_text().splitlines()
    missing = [line for line in script("tree").lines() if line not in readme]
    assert not missing


@pytest.mark.parametrize("model", [Recipe, Data, Split, Grid], ids=lambda model: model.__name__)
def test_every_key_of_a_study_file_is_documented_with_its_default(model):
    text = (ROOT / "docs" / "study.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*?) ?\|", text, flags=re.M))
    prefix = "split." if model is Split else ""
    for name, field in model.model_fields.items():
        if name == "split":
            continue
        assert prefix + name in rows, f"{name} is not in docs/study.md"
        if field.is_required() or model is Grid or field.default is None:
            continue
        said = rows[prefix + name].strip('`" ')
        if isinstance(field.default, float | int) and not isinstance(field.default, bool):
            assert float(said) == field.default, name
        else:
            assert said == str(field.default).lower(), name


def test_the_study_file_in_the_docs_can_be_read():
    text = (ROOT / "docs" / "study.md").read_text()
    import tomllib

    study = Study.parse(tomllib.loads(re.search(r"```toml\n(name.*?)```", text, flags=re.S)[1]))
    assert study.grid.axes == {"lr": [1e-3, 3e-3]}


def test_the_studies_in_the_repository_can_be_read():
    files = sorted((ROOT / "studies").glob("*.toml"))
    assert files
    for file in files:
        Study.load(file)


def test_readme_names_the_two_commands_and_the_makefile_has_them():
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "check"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, flags=re.M)
