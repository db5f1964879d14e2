"""The documentation site, for Sphinx: `make docs` builds it into build/site."""

from __future__ import annotations

import os
import re
from importlib import import_module
from importlib.metadata import version as version_of
from inspect import Parameter, signature
from pathlib import Path

import skythaw
from skythaw.callable_room import FUNCTIONS, function_of

DOCS = Path(__file__).parent
SOURCE = "https://github.com/skythaw/skythaw/blob/main/"

project = "skythaw"
author = "The skythaw developers"
version = release = version_of("skythaw")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["scripts", "_templates"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = f"skythaw {release}"
html_theme_options = {
    "github_url": "https://github.com/skythaw/skythaw",
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
}
html_sidebars = {"index": []}

default_role = "py:obj"  # `skythaw.tune` in a docstring leads to its page, where it has one
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
myst_heading_anchors = 4
nb_execution_mode = "force"  # a notebook is stored without output, and run each time
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_merge_streams = True
os.environ |= {"TQDM_DISABLE": "1"}  # a bar that has moved on is no output


def functions_are_functions() -> None:
    """Four public functions have the name of a folder: here each is the function alone, as in `skythaw.report(...)`."""
    for room in FUNCTIONS:
        import_module(room)
    for room in FUNCTIONS:
        setattr(skythaw, room.rpartition(".")[2], function_of(room))
    study = skythaw.Study
    study.__name__ = study.__qualname__ = "Study"
    study.__signature__ = signature(study.__init__).replace(parameters=[Parameter("given", Parameter.VAR_KEYWORD)])


def lead_out(text: str, level: str) -> str:
    """Links that leave docs/ lead to the page of the site that shows the file, else to the repository."""
    shown = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}

    def place(found: re.Match[str]) -> str:
        return f"]({shown.get(found[1], SOURCE + found[1])}"

    return re.sub(rf"\]\({re.escape(level)}([\w./-]+)", place, text)


def on_read(_app: object, page: str, source: list[str]) -> None:
    """A page of docs/ as the site has it; the list of decisions has these below it."""
    source[0] = lead_out(source[0], "../" * (1 + page.count("/")))
    if page == "decisions/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"


def on_include(_app: object, _file: Path, _page: str, source: list[str]) -> None:
    """CONTRIBUTING.md and CHANGELOG.md stand above docs/."""
    source[0] = lead_out(source[0].replace("](docs/", "](./"), "").replace(f"]({SOURCE}./", "](")


def on_docstring(*given: object) -> None:
    """A page that a docstring names is a link."""
    lines = given[-1]
    lines[:] = [re.sub(r"docs/(\w+)\.md", r":doc:`/\1`", line) for line in lines]


def setup(app: object) -> None:
    """What Sphinx asks for."""
    functions_are_functions()
    app.connect("source-read", on_read)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", on_docstring)  # type: ignore[attr-defined]
    app.connect("include-read", on_include)  # type: ignore[attr-defined]
