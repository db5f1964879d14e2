"""A small finished run and a bundle exported from it, for tests of what uses bundles."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock

from helpers_study import FLOATS, make_float_survey, make_survey, write_study
from skythaw.bundle.export.export_bundle import export
from skythaw.spec import Study
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study


def make_bundle(folder: Path, cache: Path, *, floats: bool = False, objects: int = 180) -> Path:
    """Make `folder`/survey.parquet (floats.parquet), study.toml, run and bundle; the path of the bundle.

    Images are JPEG of 40 x 40 pixels, of which the classifier takes 32; with `floats` FITS of five bands, ugriz.
    """
    shutil.copytree(_made(cache, floats, objects), folder, dirs_exist_ok=True)
    return folder / "bundle"


def _made(cache: Path, floats: bool, objects: int) -> Path:
    """The folder that others are copies of: what the run says of its survey's place is of this one.

    Where several processes share the tests, one of them makes it and all copy it.
    """
    root = cache.parent.parent if "PYTEST_XDIST_WORKER" in os.environ else cache.parent
    folder = root / f"bundle-{'floats' if floats else 'images'}-{objects}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "bundle").exists():
            folder.mkdir()
            _make(folder, cache, floats, objects)
    return folder


def _make(folder: Path, cache: Path, floats: bool, objects: int) -> None:
    if floats:
        make_float_survey(folder / "floats.parquet", objects)
    else:
        make_survey(folder / "survey.parquet", objects)
    small = {'"0%", "50%", "100%"': '"0%", "100%"', "epochs = 7": "epochs = 4"}
    replace = small | (FLOATS if floats else {"seed = [0, 1]": "seed = [0]"})
    study = Study.load(write_study(folder, replace=replace))
    summary = run_study(study, RunSettings(folder / "run", cache, "serial", 1, "cpu", control=False))
    assert (summary.done, summary.failed) == (2, 0)
    export(folder / "run", folder / "bundle")
