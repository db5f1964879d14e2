"""A small survey with magnitudes beside its images, and a study of both."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock

from helpers_study import CLASSES, COLUMNS, draw, jpeg
from skythaw.bundle.export.export_bundle import export
from skythaw.data.cutouts import write_cutouts
from skythaw.spec import Study
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study

MAGNITUDES = ("modelMag_g", "modelMag_r", "modelMag_i")
COLOURS = {"GALAXY": (1.0, 0.5), "QSO": (0.2, 0.1), "STAR": (0.5, 0.2)}
"""g - r and r - i"""


def make_numbered_survey(out: Path, objects=180, size=32, seed=0, scatter=0.3, mixed=0.0, **more):
    """As `helpers_study.make_survey`, with magnitudes that half tell the class; `more` are further columns.

    A share `mixed` of the objects looks like another class, in image and magnitudes.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(objects):
        label = CLASSES[i % 3]
        looks = CLASSES[(i + 1) % 3] if mixed and rng.random() < mixed else label
        r = rng.uniform(16, 20)
        g_r, r_i = (mean + rng.normal(0, scatter) for mean in COLOURS[looks])
        where = {"run": 752, "camcol": 1 + i // 6 % 5, "field": 100 + i // 6}
        numbers = dict(zip(MAGNITUDES, (r + g_r, r, r - r_i), strict=True))
        image = jpeg(draw(looks, rng, size))
        extra = {name: make(i, label) for name, make in more.items()}
        rows.append({"object_id": f"1237{i:06d}", "label": label, "image": image, **where, **numbers, **extra})
    columns = [*COLUMNS, *((name, pa.float64()) for name in (*MAGNITUDES, *more))]
    write_cutouts(out, rows, columns, {"source": "test", "seed": seed})
    return out


NUMBERED = """\
name = "numbered"

[data]
path = "survey.parquet"
columns = ["modelMag_g", "modelMag_r", "modelMag_i"]
split = { by = "field", validation = 0.2, test = 0.4, seed = 0 }

[grid]
backbone = ["timm:test_resnet"]
depth = ["0%", "100%"]
train_size = [72]
seed = [0, 1]
inputs = ["images", "table", "both"]

[recipe]
epochs = 2
batch = 16
lr = 1e-3

[weights]
"timm:test_resnet" = "random"
"""


def write_numbered_study(folder: Path, **replace) -> Path:
    """The study above in a file; `replace` are pieces of its text and what to put there."""
    text = NUMBERED
    for old, new in replace.pop("replace", {}).items():
        assert old in text, old
        text = text.replace(old, new)
    file = folder / "study.toml"
    file.write_text(text)
    return file


def make_numbered_bundle(folder: Path, cache: Path) -> Path:
    """Make `folder`/survey.parquet, run, and bundle, which takes magnitudes and measured numbers; its path.

    As `helpers_bundle.make_bundle`: where several processes share the tests, one makes it and all copy it.
    """
    root = cache.parent.parent if "PYTEST_XDIST_WORKER" in os.environ else cache.parent
    made = root / "bundle-of-both"
    with FileLock(f"{made}.lock"):
        if not (made / "bundle").exists():
            made.mkdir(exist_ok=True)
            make_numbered_survey(made / "survey.parquet", mixed=0.25)
            more = {'"modelMag_i"]\n': '"modelMag_i"]\nmeasured = true\n', "seed = [0, 1]": "seed = [0]"}
            study = Study.load(write_numbered_study(made, replace=more))
            summary = run_study(study, RunSettings(made / "run", cache, "serial", 1, "cpu", control=False))
            assert summary.failed == 0
            export(made / "run", made / "bundle", onnx=False, references=20)
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder / "bundle"
