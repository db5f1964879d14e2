"""A device that is not there is told before a classifier is written."""

from __future__ import annotations

import pytest

import skythaw
from skythaw.cli import main
from skythaw.errors import SpecError


def test_a_device_that_is_not_there_is_told_before_anything_is_exported(tmp_path, capsys):
    with pytest.raises(SpecError, match="there is no device 'gpu'"):
        skythaw.export(tmp_path / "run", tmp_path / "out", device="gpu")
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--device", "gpu"])
    assert "there is no device 'gpu'" in capsys.readouterr().err
