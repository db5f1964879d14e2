"""A link that somebody has planted where we write never makes us write into what it names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


@pytest.fixture(params=["without a name", "under a name"])
def meanwhile(request, monkeypatch):
    """How a file is written on this system, and on one that has no files without names."""
    if request.param == "under a name":
        monkeypatch.setattr(files, "_unnamed_file", lambda folder: None)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.fail("the tests run on Linux")


def test_the_name_of_what_is_being_written_cannot_be_guessed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_unnamed_file", lambda folder: None)
    seen = set()
    for _ in range(3):
        with replacing(tmp_path / "report.html") as file:
            seen |= {each.name for each in tmp_path.iterdir() if each.name.endswith(".tmp")}
            file.write(b"x")
    assert len(seen) == 3
    assert all(str(os.getpid()) not in name.split(".") for name in seen)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("kind", ["link", "broken link", "hard link", "file"])
@pytest.mark.usefixtures("meanwhile")
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


@pytest.mark.parametrize("full", [False, True])
def test_where_a_file_can_get_no_name_it_is_copied_whole_or_not_at_all(tmp_path, monkeypatch, full):
    def refused(*_arguments, **_options):
        raise PermissionError(1, "Operation not permitted")

    def half(_whole, copy, _length):
        copy.write(b"xy")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refused)
    if full:
        monkeypatch.setattr(files.shutil, "copyfileobj", half)
        with pytest.raises(OutputError, match="No space left"), replacing(tmp_path / "out") as file:
            file.write(b"xyz" * 1_000_000)
        assert not list(tmp_path.iterdir())
        return
    with replacing(tmp_path / "out") as file:
        file.write(b"xyz" * 1_000_000)
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_bytes() == b"xyz" * 1_000_000


def test_a_killed_process_leaves_nothing_of_what_it_was_writing(tmp_path):
    before = tmp_path / "report.html"
    before.write_text("before")
    code = (
        "import os, signal, sys; from pathlib import Path; from skythaw.machine.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as file:\n"
        "    file.write(bytes(1 << 20)); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, before], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert before.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.usefixtures("meanwhile")
def test_rights_are_those_of_any_new_file(tmp_path):
    previous = os.umask(0o027)
    try:
        with replacing(tmp_path / "report.html") as file:
            file.write(b"x")
    finally:
        os.umask(previous)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o640


@pytest.mark.usefixtures("meanwhile")
def test_a_link_in_place_of_the_output_is_replaced_and_what_it_names_is_not_touched(tmp_path, precious):
    (tmp_path / "out").symlink_to(precious)
    with replacing(tmp_path / "out") as file:
        file.write(b"ours")
    assert precious.read_text() == "mine"
    assert not (tmp_path / "out").is_symlink()
    assert Path(tmp_path / "out").read_bytes() == b"ours"
