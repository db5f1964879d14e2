"""What the benchmarks on real cutouts share: their arguments, and a study of one network at 48 px."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from skythaw.spec import Study

SIDE = 48
"""pixels: a quarter of the work of 96"""


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """TRAIN and TEST (cutouts of different sky in skythaw's Parquet form), WEIGHTS (of MobileNetV2), and where to."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    return parser


def study(given: Any, name: str, grid: dict[str, Any], split_seed: int = 0, validation: float = 0.07) -> Study:
    """A study of these cutouts with the default training; `grid` may have axes that change it."""
    mobile = {"file": str(given.weights), "mean": [0.5], "std": [0.5], "options": {"pad_type": "same", "bn_eps": 1e-3}}
    return Study.parse(
        {
            "name": name,
            "data": {
                "path": str(given.train),
                "test_path": str(given.test),
                "crop": SIDE,
                "split": {"by": "field", "validation": validation, "seed": split_seed},
            },
            "grid": grid,
            "weights": {"mobilenetv2": mobile} if grid["backbone"] == ["mobilenetv2"] else {},
        }
    )
