"""Print what ``--help`` says of every command. Run: python docs/scripts/commands.py > docs/commands.md"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from skythaw.cli import app

HEAD = """\
# Commands

What `skythaw COMMAND --help` says. Exit codes: 0 done; 2 the input is wrong, one line says what; 1 a bug (traceback),
or a cell of a study failed; 130 stopped by Ctrl-C. `--json` output has `"schema": 1` at the top and is for programs.
"""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, in their order."""
    for command in group.registered_commands:
        yield (*path, command.name or command.callback.__name__)
    for child in group.registered_groups:
        yield from commands(child.typer_instance, (*path, child.name))


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for words in commands(app):
        run = subprocess.run(
            [sys.executable, "-m", "skythaw", *words, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100"},
        )
        parts.append(f"## skythaw {' '.join(words)}\n\n```text\n{run.stdout.strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
