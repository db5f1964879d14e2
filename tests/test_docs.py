"""The documentation tells the truth: links, commands, keys and defaults, the tree."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from skythaw.backbones.network_facts import facts
from skythaw.data.cutouts import read_cutouts
from skythaw.spec import Data, Grid, Recipe, Split, Study

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


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
    """Make it again: make docs"""
    assert (ROOT / "docs" / "commands.md").read_text() == script("commands").page()


def test_the_tree_the_order_and_the_tests_are_those_that_are_there():
    """Make them again: make docs"""
    text = (ROOT / "docs" / "structure.md").read_text()
    assert text == script("tree").page(text)


def test_every_object_in_the_table_is_in_the_file_beside_it():
    text = (ROOT / "docs" / "structure.md").read_text().partition("## Main objects")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[A-Z].*?) \| (`.*?) \|", text, flags=re.M)
    assert len(rows) > 50
    for objects, files in rows:
        trees = [ast.parse((ROOT / "src" / "skythaw" / file).read_text()) for file in re.findall("`(.*?)`", files)]
        classes = {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
        assert set(re.findall("`(.*?)`", objects)) <= classes, f"{objects} in {files}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_source_that_a_page_names_are_there(page):
    if page.name in ("log.md", "CHANGELOG.md"):
        return  # they speak of their day
    names = {str(file.relative_to(ROOT / "src" / "skythaw")) for file in (ROOT / "src" / "skythaw").rglob("*.py")}
    rooms = {name.partition("/")[0] for name in names if "/" in name} | {"serving"}
    said = re.findall(r"`(?:src/skythaw/)?((?:[\w]+/)+\w+\.py)`", page.read_text())
    assert not [name for name in said if name.partition("/")[0] in rooms and name not in names]


def test_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert len(text.split()) <= 700


def test_the_examples_of_how_to_contribute_run(tmp_path):
    found = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.S):
        exec(block, found)
    assert facts(found["CONVNEXT_ATTO"], tmp_path).channels == 320
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=["STAR", "QSO", "STAR"])
    assert found["import_npz"](tmp_path / "a.npz", tmp_path / "a.parquet") == 3
    assert list(read_cutouts(tmp_path / "a.parquet").labels) == ["STAR", "QSO", "STAR"]


def test_citation_and_project_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = dict(re.findall(r"^([\w-]+): (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.M))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert [citation["repository-code"]] == list(project["urls"].values())


@pytest.mark.parametrize("model", [Recipe, Data, Split, Grid], ids=lambda model: model.__name__)
def test_every_key_of_a_study_file_is_documented_with_its_default(model):
    text = (ROOT / "docs" / "study.md").read_text()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*?) ?\|", text, flags=re.M))
    prefix = "split." if model is Split else ""
    for name, field in model.model_fields.items():
        if name == "split":
            continue
        assert prefix + name in rows, f"{name} is not in docs/study.md"
        if field.is_required() or model is Grid or field.default_factory or field.default in (None, ()):
            continue
        said = rows[prefix + name].strip('`" ')
        if isinstance(field.default, float | int) and not isinstance(field.default, bool):
            assert float(said) == field.default, name
        else:
            assert said == str(field.default).lower(), name


def test_the_study_file_in_the_docs_can_be_read():
    text = (ROOT / "docs" / "study.md").read_text()
    study = Study.parse(tomllib.loads(re.search(r"```toml\n(name.*?)```", text, flags=re.S)[1]))
    assert study.grid.train_size == (300, 1500)


def test_the_studies_in_the_repository_can_be_read():
    files = sorted((ROOT / "studies").glob("*.toml"))
    assert files
    for file in files:
        Study.load(file)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_makefile_has_the_commands_that_are_named(page):
    named = set(
        re.findall(r"make ([a-z-]+)", "\n".join(re.findall(r"^    .*|`.*?`", (ROOT / page).read_text(), flags=re.M)))
    )
    assert len(named) >= 2
    assert named <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
