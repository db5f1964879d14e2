"""How well numbers alone classify: the control on measured numbers, and models of photometry.

    python benchmarks/number_scores.py TRAIN TEST --photometry PHOTOMETRY --cache FOLDER

TRAIN and TEST are cutouts of different sky in skythaw's Parquet form; PHOTOMETRY are cutouts with modelMag_u to _z.
A third of the fields of TRAIN is validation, on which numbers and settings may be chosen. TEST is only scored.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedGroupKFold

from skythaw.data.cutouts import Cutouts, read_cutouts
from skythaw.data.pixel_store import open_store
from skythaw.data.split import nested_order
from skythaw.data.split_groups import groups
from skythaw.spec import Numbers
from skythaw.tables.number_models import NumberModel, fit_boosting, fit_forest, fit_linear
from skythaw.tables.open_numbers import open_numbers

SIZES = (300, 500, 1500, None)
FITS: dict[str, Callable[[np.ndarray, np.ndarray, int, int], NumberModel]] = {
    "forest": fit_forest,
    "boosting": fit_boosting,
    "linear": fit_linear,
}
PHOTOMETRY = tuple(f"modelMag_{band}" for band in "ugriz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--photometry", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=FITS, default=["forest"])
    given = parser.parse_args()
    control(given)
    if given.photometry:
        photometry(given)


def control(given: argparse.Namespace) -> None:
    """Macro-F1 of models of measured numbers against training images, on validation and on test."""
    train, test = (read_cutouts(path) for path in (given.train, given.test))
    began = time.perf_counter()
    values, test_values = (numbers(each, Numbers(measured=True), given.cache) for each in (train, test))
    print(f"{values.shape[1]} numbers of {len(train) + len(test)} images in {time.perf_counter() - began:.0f} s")
    targets, test_targets = (targets_of(each) for each in (train, test))
    field = groups(train, "field", 0)
    held = np.random.default_rng(0).permutation(field.max() + 1)[: (field.max() + 1) // 3]
    validation = np.isin(field, held)
    print("model      images  validation (mean)   test (mean, each seed)")
    for model, size in ((model, size) for model in given.models for size in SIZES):
        scores: dict[str, list[float]] = {"validation": [], "test": []}
        for seed in range(given.seeds if size else 1):
            order = nested_order(train.labels.astype(str), seed)
            inner = order[~validation[order]][:size]
            fitted = FITS[model](values[inner], targets[inner], len(train.classes), seed)
            scores["validation"].append(score(fitted, values[validation], targets[validation]))
            fitted = FITS[model](values[order[:size]], targets[order[:size]], len(train.classes), seed)
            scores["test"].append(score(fitted, test_values, test_targets))
        means = {part: np.mean(each) for part, each in scores.items()}
        each = " ".join(f"{number:.3f}" for number in scores["test"])
        print(
            f"{model:10} {size or len(train):6}  {means['validation']:.4f}              {means['test']:.4f}  {each}",
            flush=True,
        )


def photometry(given: argparse.Namespace) -> None:
    """Macro-F1 of each model of u g r i z, of measured numbers and of both, over 5 folds by field."""
    cutouts = read_cutouts(given.photometry)
    targets, field = targets_of(cutouts), groups(cutouts, "field", 0)
    print("numbers        model       macro-F1   accuracy   log loss   (5 folds by field)")
    wanted = {
        "photometry": Numbers(columns=PHOTOMETRY),
        "measured": Numbers(measured=True),
        "both": Numbers(columns=PHOTOMETRY, measured=True),
    }
    for what, settings in wanted.items():
        values = numbers(cutouts, settings, given.cache)
        for model, fit in FITS.items():
            log_p = np.zeros((len(cutouts), len(cutouts.classes)))
            for train, held in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(values, targets, field):
                fitted = fit(values[train], targets[train], len(cutouts.classes), 0)
                log_p[held] = fitted.log_probabilities(values[held])
            chosen = log_p.argmax(1)
            loss = -log_p[np.arange(len(targets)), targets].mean()
            macro = f1_score(targets, chosen, average="macro")
            print(f"{what:14} {model:10}  {macro:.4f}     {(chosen == targets).mean():.4f}     {loss:.4f}", flush=True)


def numbers(cutouts: Cutouts, settings: Numbers, cache: Path) -> np.ndarray:
    """float64 [object number]"""
    return open_numbers(settings, None, cutouts, lambda: open_store(cutouts, cache), cache)[0].values


def targets_of(cutouts: Cutouts) -> np.ndarray:
    return np.searchsorted(cutouts.classes, cutouts.labels.astype(str))


def score(model: NumberModel, values: np.ndarray, targets: np.ndarray) -> float:
    return float(f1_score(targets, model.log_probabilities(values).argmax(1), average="macro"))


if __name__ == "__main__":
    main()
