"""Print the tree of the source with the first line of each file's docstring, as README shows it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "skythaw"
WIDTH = 28


def lines(folder: Path = SOURCE, indent: int = 0) -> Iterator[str]:
    """A line for each folder and file, folders last."""
    files = sorted(p for p in folder.iterdir() if p.suffix == ".py" and p.name not in ("__init__.py", "__main__.py"))
    folders = sorted(p for p in folder.iterdir() if (p / "__init__.py").exists())
    for file in files:
        yield _line("  " * indent + file.name, file)
    for each in folders:
        yield _line("  " * indent + each.name + "/", each / "__init__.py")
        yield from lines(each, indent + 1)


def _line(name: str, file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = docstring.replace("\n", " ").partition(". ")[0].replace("``", "")
    return f"{name:{WIDTH}}{first.rstrip('.')}".rstrip()


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
