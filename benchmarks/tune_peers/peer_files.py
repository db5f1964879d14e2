"""What the other tools are given, and what they give back: see tune_peers.py. Needs pandas and Pillow alone."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import pandas as pd

NETWORK = "tf_efficientnet_lite0"
VALIDATION = 0.15
"""share of the objects that are kept for validation: as skythaw does"""


def arguments(doc: str | None) -> argparse.Namespace:
    """FOLDER that tune_peers.py made, and how long there is."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, required=True, help="seconds")
    parser.add_argument("--begun", type=float, default=time.time(), help="when the budget began, in seconds since 1970")
    parser.add_argument("--crop", type=int, help="pixels of the centre; else the whole image")
    parser.add_argument("--size", type=int, help="pixels that the network is given; else what is usual for the tool")
    return parser.parse_args()


def training_table(folder: Path) -> pd.DataFrame:
    """Columns `image` (a path), `label` and `valid`: whole fields are kept for validation."""
    table = pd.read_csv(folder / "train.csv")
    fields = table.groupby(["run", "camcol", "field"]).ngroup()
    order = pd.Series(sorted(fields.unique())).sample(frac=1, random_state=0)
    kept = order[(fields.value_counts()[order.to_numpy()].cumsum() <= VALIDATION * len(table)).to_numpy()]
    images = [str(folder / "train" / path) for path in table["path"]]
    return pd.DataFrame({"image": images, "label": table["label"], "valid": fields.isin(kept)})


def test_images(folder: Path) -> list[Path]:
    """The images to judge, whose names are the objects' ids."""
    return sorted((folder / "test").iterdir())


def trained(out: Path) -> None:
    """Say that the classifier is there, and what it took of the processor: what comes after does not count."""
    used = os.times()
    (out / "trained.json").write_text(json.dumps({"at": time.time(), "processor_seconds": sum(used[:4])}))


def write_predictions(out: Path, files: list[Path], p: object, classes: list[str]) -> None:
    """Write the probability of each class, [image, class]."""
    table = pd.DataFrame(p, columns=classes)
    table.insert(0, "object_id", [file.stem for file in files])
    table.to_csv(out / "said.csv", index=False)
