"""Write the tree of the source, the order of its rooms and the table of the tests into docs/structure.md.

Run it with ``make docs``. Every line is the first sentence of a docstring, so the page is as true as those are.
"""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "skythaw"
PAGE = ROOT / "docs" / "structure.md"
WIDTH = 28


def tree(folder: Path = SOURCE, indent: int = 0) -> Iterator[str]:
    """A line for each folder and file, folders last."""
    files = sorted(p for p in folder.iterdir() if p.suffix == ".py" and p.name not in ("__init__.py", "__main__.py"))
    folders = sorted(p for p in folder.iterdir() if (p / "__init__.py").exists())
    for file in files:
        yield f"{'  ' * indent + file.name:{WIDTH}} {first_sentence(file)}".rstrip()
    for each in folders:
        yield f"{'  ' * indent + each.name + '/':{WIDTH}} {first_sentence(each / '__init__.py')}".rstrip()
        yield from tree(each, indent + 1)


def order() -> str:
    """The one-way order, from the contract that `make check` enforces."""
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter")
    layers = contract["importlinter:contract:layers"]["layers"].split()
    return " < ".join(layer.removeprefix("skythaw.") for layer in reversed(layers))


def tests() -> Iterator[str]:
    """A row for each file of tests: the property that it shows."""
    yield "| what is shown | by |"
    yield "|---|---|"
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        yield f"| {first_sentence(file)} | `{file.name}` |"


def first_sentence(file: Path) -> str:
    """How the docstring of a file begins, up to its first full stop."""
    docstring = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split())
    return re.split(r"(?<!et al)\. ", docstring, maxsplit=1)[0].rstrip(".").replace("``", "`")


def page(text: str) -> str:
    """A page with the parts between its markers made again."""
    fresh = {
        "tree": "```text\n" + "\n".join(tree()) + "\n```",
        "order": f"`{order()}`",
        "tests": "\n".join(tests()),
    }
    for name, part in fresh.items():
        begin, end = f"<!-- {name}: made by make docs -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = before + begin + "\n\n" + part + "\n\n" + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
