"""The documentation site: each page and public name has its place, each heading and command that is named is there."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import typer

import skythaw
from skythaw.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
OF_THEIR_DAY = {"log.md", "CHANGELOG.md", "commands.md"}
"""they name commands as these were on a day; commands.md is made from the commands"""


def named(page):
    return str(page.relative_to(ROOT))


def text_of(page):
    """A page without its code, or the Markdown of a notebook."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text())["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.S)


def anchors(page):
    """The address of each heading, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=named)
def test_links_to_headings_lead_to_one(page):
    missing = []
    for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text_of(page)):
        if anchor not in anchors(page.parent / file if file else page):
            missing.append(f"{file}#{anchor}")
    assert not missing


@pytest.mark.parametrize("page", NOTEBOOKS, ids=named)
def test_links_of_notebooks_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s:]+)[^)]*\)", text_of(page))
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_each_page_has_one_place_on_the_site():
    listed = Counter()
    for page in DOCS.rglob("*.md"):
        for part in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), flags=re.S):
            listed.update(line for line in part.split() if not line.startswith(":"))
    pages = [*DOCS.rglob("*.md"), *NOTEBOOKS]
    wanted = {str(page.relative_to(DOCS).with_suffix("")) for page in pages} - {"index"}
    wanted = {page for page in wanted if not page.startswith("decisions/0")}  # below the list of them, by their names
    assert listed == Counter(wanted)


def test_each_public_name_is_on_one_page_of_functions_and_classes():
    listed = re.findall(r"^   skythaw\.(\w+)$", (DOCS / "api.md").read_text(), flags=re.M)
    assert sorted(listed) == sorted(skythaw.__all__)


@pytest.mark.parametrize("page", NOTEBOOKS, ids=named)
def test_a_notebook_is_stored_without_output_and_names_what_is_there(page):
    content = json.loads(page.read_text())
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not [cell for cell in cells if cell["outputs"] or cell["execution_count"]]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    assert set(re.findall(r"\bskythaw\.(\w+)", source)) <= set(skythaw.__all__)


def command_lines(text):
    """What stands in code and begins with `skythaw`, each up to its end."""
    code = re.findall(r"```[a-z]*\n(.*?)```", text, flags=re.S) + re.findall(r"^    (.+)$", text, flags=re.M)
    code += re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    for part in code:
        for line in re.split(r"[\n;|]| && |  #", part.replace("\\\n", " ")):
            if found := re.match(r"(?:\$ |\.venv/bin/)?skythaw(?: (.*))?$", line.strip()):
                yield (found[1] or "").split()


def not_there(words):
    """The first word or option of a command line that skythaw does not have."""
    command = typer.main.get_command(app)
    options = {option for each in command.params for option in each.opts} | {"-h", "--help"}
    for word in words:
        if word.startswith("-"):
            if word.partition("=")[0] not in options:
                return word
        elif hasattr(command, "commands") and re.fullmatch(r"[a-z-]+", word):
            if word not in command.commands:
                return word
            command = command.commands[word]
            options |= {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    return None


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in OF_THEIR_DAY], ids=named)
def test_each_command_that_a_page_names_is_there(page):
    wrong = [(" ".join(words), word) for words in command_lines(page.read_text()) if (word := not_there(words))]
    assert not wrong


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("skythaw tune my-images --budget 30m", None),
        ("skythaw tone my-images", "tone"),
        ("skythaw study ran S.toml", "ran"),
        ("skythaw tune my-images --bugdet 30m", "--bugdet"),
    ],
)
def test_a_command_that_is_not_there_is_found(line, word):
    (words,) = command_lines(f"```sh\n{line}  # a comment\n```")
    assert not_there(words) == word


def test_the_page_of_installation_names_each_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "install.md").read_text(), flags=re.M)
    assert {name for row in rows for name in re.findall("`(.*?)`", row)} == set(extras)
