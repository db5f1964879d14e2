"""One word, one meaning: no two classes share a name, and a file's name says what is in it without its folder."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import skythaw

SOURCE = Path(skythaw.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
FACES = {"__init__.py", "__main__.py"}


def twice(found):
    return {name: places for name, places in found.items() if len(places) > 1}


def test_no_two_classes_share_a_name():
    places = defaultdict(list)
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file.relative_to(SOURCE)}:{node.lineno}")
    assert len(places) > 150
    assert not twice(places)


def test_no_two_files_share_a_name():
    places = defaultdict(list)
    for file in FILES:
        if file.name not in FACES:
            places[file.name].append(str(file.relative_to(SOURCE)))
    assert not twice(places)
