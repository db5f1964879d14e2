"""A link that somebody has planted where we write never makes us write into what it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skythaw.errors import OutputError
from skythaw.machine import files
from skythaw.machine.files import new_file, replacing


@pytest.fixture
def precious(tmp_path):
    file = tmp_path / "precious"
    file.write_text("mine")
    return file


def test_the_name_of_what_is_being_written_cannot_be_guessed(tmp_path):
    seen = set()
    for _ in range(3):
        with replacing(tmp_path / "report.html") as file:
            seen |= {each.name for each in tmp_path.iterdir() if each.name.endswith(".tmp")}
            file.write(b"x")
    assert len(seen) == 3
    assert all(str(os.getpid()) not in name.split(".") for name in seen)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("kind", ["link", "broken link", "hard link", "file"])
def test_what_is_there_under_that_name_is_not_opened(tmp_path, precious, monkeypatch, kind):
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0" * 16)
    planted = tmp_path / ".report.html.0000000000000000.tmp"
    {
        "link": lambda: planted.symlink_to(precious),
        "broken link": lambda: planted.symlink_to(tmp_path / "new"),
        "hard link": lambda: planted.hardlink_to(precious),
        "file": lambda: planted.write_text("other"),
    }[kind]()
    with pytest.raises(OutputError, match=r"report\.html: File exists"), replacing(tmp_path / "report.html"):
        pass
    with pytest.raises(FileExistsError):
        new_file(planted)
    assert precious.read_text() == "mine"
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "report.html").exists()


def test_a_link_in_place_of_the_output_is_replaced_and_what_it_names_is_not_touched(tmp_path, precious):
    (tmp_path / "out").symlink_to(precious)
    with replacing(tmp_path / "out") as file:
        file.write(b"ours")
    assert precious.read_text() == "mine"
    assert not (tmp_path / "out").is_symlink()
    assert Path(tmp_path / "out").read_bytes() == b"ours"
