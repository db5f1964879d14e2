"""Read the TOML file that a person wrote; what is wrong with it is said in plain words."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from skythaw.errors import SpecError

LARGEST = 1_000_000
"""bytes of a study file"""
LONGEST = 60
"""letters of a line that is shown"""
WHAT = {
    "Invalid value": "is no value: text stands in quotes, and true and false are in small letters",
    "Cannot overwrite": "has a key that stands there already",
    "Cannot declare": "begins a section that stands there already",
    "Unclosed array": 'ends no list that was begun: close it with ], and put text such as "50%" in quotes',
    "Expected '='": "should be KEY = VALUE; a key with other signs than letters, digits, _ and - stands in quotes",
    "Expected ']'": "begins a section that is not closed with ]",
    "Expected newline": "should end after its value; a comment begins with #",
    "Invalid hex value": "has \\ inside double quotes: write / or put the text in single quotes",
    "Unescaped": "has \\ inside double quotes: write / or put the text in single quotes",
    "Invalid initial character": "has no key where one should stand; a table in { } is on one line",
    "Invalid statement": "is neither KEY = VALUE nor a [section]",
}
"""what is said of a line, by the beginning of what `tomllib` says"""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a study file.

    Raises
    ------
    SpecError
        It can't be read, or is no TOML.
    """
    text = _text(path)
    if not text.strip():
        raise SpecError(f"{path} is empty: a study has at least path under [data] and backbone under [grid]")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not TOML: {_fault(str(error), text)}") from None


def _text(path: Path) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST + 1)
    except IsADirectoryError:
        raise SpecError(f"{path} is a folder: give the study file itself, such as {path / 'study.toml'}") from None
    except OSError as error:
        raise SpecError(f"can't read the study file {path}: {error.strerror or error}") from None
    if len(content) > LARGEST:
        raise SpecError(f"{path} is larger than a study file is (1 MB): give the TOML file, not the data")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecError(
            f"can't read the study file {path}: it is not text in UTF-8 (seen in line {line}); save it as UTF-8, "
            "or give the TOML file if this is another"
        ) from None


def _fault(message: str, text: str) -> str:
    """Which line is wrong, and how."""
    said = next((words for beginning, words in WHAT.items() if message.startswith(beginning)), None)
    place = re.search(r"\(at line (\d+), column \d+\)", message)
    if said is None or place is None:
        return message
    number = int(place[1])
    line = text.splitlines()[number - 1].strip() if number <= len(text.splitlines()) else ""
    return f"line {number}, {line[:LONGEST]!r}, {said}"
