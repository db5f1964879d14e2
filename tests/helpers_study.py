"""A small survey that a tiny network can learn in seconds, and a study of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from skythaw.data.cutouts import write_cutouts
from skythaw.data.fits import encode_fits

COLUMNS = [("run", pa.int32()), ("camcol", pa.int8()), ("field", pa.int32())]
CLASSES = ("GALAXY", "QSO", "STAR")
COLOURS = {"GALAXY": (1.0, 0.8, 0.5), "QSO": (0.4, 0.6, 1.0), "STAR": (1.0, 0.6, 0.4)}
WIDTHS = {"GALAXY": 4.0, "QSO": 1.5, "STAR": 1.5}


def draw(label, rng, size):
    """A spot on a noisy sky: galaxies are wide, quasars blue and stars red."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    spot = np.exp(-(x**2 + y**2) / (2 * WIDTHS[label] ** 2)) * rng.uniform(120, 220)
    image = spot[..., None] * np.array(COLOURS[label]) + rng.normal(15, 8, (size, size, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def jpeg(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()


def make_survey(out: Path, objects=180, size=40, seed=0, prefix="1237"):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "object_id": f"{prefix}{i:06d}",
            "label": CLASSES[i % 3],
            "image": jpeg(draw(CLASSES[i % 3], rng, size)),
            "run": 752,
            "camcol": 1 + i // 6 % 5,
            "field": 100 + i // 6,
        }
        for i in range(objects)
    ]
    write_cutouts(out, rows, COLUMNS, {"source": "test", "seed": seed})
    return out


UGRIZ = {"GALAXY": (0.2, 0.5, 0.8, 0.9, 1.0), "QSO": (0.9, 1.0, 0.6, 0.5, 0.4), "STAR": (0.1, 0.4, 0.7, 1.0, 1.1)}
FLOATS = {
    'path = "survey.parquet"': 'path = "floats.parquet"\nstretch = { kind = "asinh", low = -0.05, high = 1.2 }',
    "seed = [0, 1]": "seed = [0]",
}
"""What to replace in the study below to have it of `make_float_survey`."""


def make_float_survey(out: Path, objects=180, size=40, seed=0):
    """The same sky in five bands, as FITS files."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    rows = []
    for i in range(objects):
        label = CLASSES[i % 3]
        spot = np.exp(-(x**2 + y**2) / (2 * WIDTHS[label] ** 2)) * rng.uniform(0.4, 0.8)
        image = spot[..., None] * np.array(UGRIZ[label]) + rng.normal(0, 0.02, (size, size, 5))
        where = {"run": 752, "camcol": 1 + i // 6 % 5, "field": 100 + i // 6}
        image = encode_fits(image.astype(np.float32), "ugriz")
        rows.append({"object_id": f"9{i:06d}", "label": label, "image": image, **where})
    write_cutouts(out, rows, COLUMNS, {"source": "test", "seed": seed})
    return out


STUDY = """\
name = "small"

[data]
path = "survey.parquet"
crop = 32
split = { by = "field", validation = 0.2, test = 0.3, seed = 0 }

[grid]
backbone = ["timm:test_efficientnet"]
depth = ["0%", "50%", "100%"]
train_size = [75]
seed = [0, 1]

[recipe]
epochs = 7
batch = 16
lr = 5e-3

[weights]
"timm:test_efficientnet" = "random"
"""


def write_study(folder: Path, **replacements) -> Path:
    """The study above in a file; keywords replace pieces of its text."""
    text = STUDY
    for old, new in replacements.pop("replace", {}).items():
        assert old in text, old
        text = text.replace(old, new)
    file = folder / "study.toml"
    file.write_text(text)
    return file
