"""What the benchmarks on real cutouts share: arguments, a study of one network at 48 px, predictions to be scored."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skythaw.spec import Study
from skythaw.stats.scored_sample import Sample

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


def sample(
    ids: Sequence[str], classes: tuple[str, ...], true: np.ndarray, field: np.ndarray, said: Sequence[np.ndarray]
) -> Sample:
    """Test objects as the statistics take them; `said` are log-probabilities [object class], called 0, 1, ..."""
    rows = np.arange(len(true))
    return Sample(
        run=Path(),
        part="test",
        classes=classes,
        ids=tuple(ids),
        true=true,
        group=field,
        grouped=True,
        numbers={},
        said={str(i): each.argmax(1) for i, each in enumerate(said)},
        loss={str(i): -each[rows, true] for i, each in enumerate(said)},
        missing=(),
    )
