"""How far does a trained network go together with numbers, against either alone?

    python benchmarks/number_networks.py TRAIN TEST --out FOLDER [--images 1500] [--seeds 3]
    python benchmarks/number_networks.py PHOTOMETRY --out FOLDER [--seeds 1]

TRAIN and TEST are cutouts of different sky in skythaw's Parquet form: the numbers are measured. PHOTOMETRY are cutouts
with modelMag_u to _z: five folds by field, whose test objects are scored together. The network is EfficientNet-Lite0
with half of its blocks trained, on the central 32 pixels enlarged to 96; rate and length are the defaults. Nothing is
chosen on test objects. Intervals are 95 %, over fields alone, so of these trained networks; gains are paired. It
resumes: the run folders are in FOLDER.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from number_scores import PHOTOMETRY, targets_of
from real_cutouts import sample
from seed_ensembles import of_probabilities
from sklearn.model_selection import StratifiedGroupKFold

from skythaw.data.cutouts import read_cutouts
from skythaw.data.split_groups import groups
from skythaw.spec import Study
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.calibration import fit_temperature, tempered
from skythaw.stats.scored_sample import Sample, read_sample
from skythaw.study.convergence import not_converged
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study

FOLDS = 5
WAYS = ("both", "both:mean", "both:stack")
INPUTS = ("images", "table", "both")


@dataclass(frozen=True)
class Judged:
    """Test objects, and what each kind of classifier said of them."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    true: np.ndarray
    field: np.ndarray
    said: Mapping[str, Sequence[np.ndarray]]
    """by inputs: the log-probabilities of each seed, [object class]; ``mean of both``: of the seeds' mean, alone"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="*", default=[1500], help="0: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--way", default="both", choices=WAYS, help="how the two are combined; both: the better")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.test:
        for images in given.images:
            parts, share = (given.train, given.test), 0.035 if images else 0.07
            asked = study(given, f"measured-{images or 'all'}", parts, images or "all", share, measured=True)
            show(f"measured, {images or 'all'} images", judged(given, asked))
        return
    asked = [study(given, f"fold-{i}", parts, "all", 0.15, columns=PHOTOMETRY) for i, parts in enumerate(folds(given))]
    together = join([judged(given, each) for each in asked])
    show("photometry, 5 folds", together)
    match = dict(zip(*(pq.read_table(given.train)[name].to_pylist() for name in ("object_id", "match")), strict=True))
    show("exact ids alone", of_rows(together, np.array([match[each] == "exact id" for each in together.ids])))
    points = [i for i, name in enumerate(together.classes) if name in ("STAR", "QSO")]
    show("stars against quasars", against(of_rows(together, np.isin(together.true, points)), points))


def study(
    given: Any, name: str, parts: tuple[Path, Path], images: int | str, validation: float, **numbers: Any
) -> Study:
    return Study.parse(
        {
            "name": name,
            "data": {
                "path": str(parts[0].absolute()),
                "test_path": str(parts[1].absolute()),
                "crop": 32,
                "size": 96,
                "split": {"by": "field", "validation": validation, "seed": 0},
                **numbers,
            },
            "grid": {
                "backbone": ["efficientnet_lite0"],
                "depth": ["50%"],
                "train_size": [images],
                "seed": list(range(given.seeds)),
                "inputs": ["images", "table", given.way],
            },
        }
    )


def folds(given: Any) -> Iterator[tuple[Path, Path]]:
    """Files of the training and the test objects of each fold."""
    table, cutouts = pq.read_table(given.train), read_cutouts(given.train)
    field, targets = groups(cutouts, "field", 0), targets_of(cutouts)
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(targets, targets, field)
    for i, parts in enumerate(split):
        files = tuple(given.out / f"{name}-{i}.parquet" for name in ("train", "test"))
        for file, rows in zip(files, parts, strict=True):
            if not file.exists():
                pq.write_table(table.take(rows), file)
        yield files  # type: ignore[misc]


def judged(given: Any, asked: Study) -> Judged:
    """Run a study; what its cells said of the test objects."""
    out = given.out / asked.name
    run_study(asked, RunSettings(out=out, cache=given.out / "cache", workers=given.workers))
    keys: dict[str, list[str]] = defaultdict(list)
    with Ledger.read(out) as ledger:
        numbers = [entry for entry in ledger.entries("numbers") if entry.cell.number_models]  # not the control
        for entry in [*ledger.entries(), *numbers]:
            if entry.result:
                keys[entry.cell.inputs.split(":")[0]].append(entry.key)
                classes, why = entry.result.classes, "; ".join(not_converged(entry.result))
                print(f"({asked.name}, {entry.cell.inputs}, seed {entry.cell.seed}: {why or 'converged'})", flush=True)
    every = [key for each in keys.values() for key in each]
    validation, test = (read_sample(out, part, classes, every) for part in ("validation", "test"))
    assert validation
    assert test
    said = {name: [calm(validation, test, key) for key in keys[name]] for name in INPUTS}
    said["mean of both"] = [of_probabilities(said["both"])]
    return Judged(test.ids, tuple(classes), test.true, test.group, said)


def calm(validation: Sample, test: Sample, key: str) -> np.ndarray:
    """What a cell said, tempered on validation as a bundle does."""
    return tempered(test.log_probabilities(key), fit_temperature(validation.log_probabilities(key), validation.true))


def join(several: Sequence[Judged]) -> Judged:
    """The test objects of all folds; no field is in two of them."""
    first = np.cumsum([0, *(each.field.max() + 1 for each in several)])
    return Judged(
        sum((each.ids for each in several), ()),
        several[0].classes,
        np.concatenate([each.true for each in several]),
        np.concatenate([each.field + start for each, start in zip(several, first, strict=False)]),
        {name: [np.concatenate(seed) for seed in zip(*(each.said[name] for each in several), strict=True)]
         for name in several[0].said},
    )  # fmt: skip


def of_rows(whole: Judged, rows: np.ndarray) -> Judged:
    field = np.unique(whole.field[rows], return_inverse=True)[1]
    ids = tuple(each for each, taken in zip(whole.ids, rows, strict=True) if taken)
    said = {name: [each[rows] for each in seeds] for name, seeds in whole.said.items()}
    return Judged(ids, whole.classes, whole.true[rows], field, said)


def against(some: Judged, of: Sequence[int]) -> Judged:
    """The same with these classes alone: the probabilities of the others are left out."""
    said = {name: [tempered(each[:, of], 1.0) for each in seeds] for name, seeds in some.said.items()}
    return Judged(some.ids, tuple(some.classes[i] for i in of), np.searchsorted(of, some.true), some.field, said)


def show(what: str, found: Judged) -> None:
    """Scores of each inputs, and what both gains over either: macro-F1, and F1 of each class."""
    print(f"\n{what}: {len(found.ids)} test objects in {found.field.max() + 1} fields")
    print(f"| | macro-F1 (95 %) | {' | '.join(found.classes)} | log loss |\n{'|---' * (3 + len(found.classes))}|")
    scores = {name: mean_scores(found, seeds) for name, seeds in found.said.items()}
    for name, each in scores.items():
        classes = " | ".join(f"{each[f'f1 {c}'][0]:.3f}" for c in found.classes)
        print(f"| {name} | {interval(each['macro_f1'], 1, '.3f')} | {classes} | {each['log_loss'][0]:.3f} |")
    for name, other in (("both", "images"), ("both", "table"), ("mean of both", "table"), ("mean of both", "both")):
        gains = {key: scores[name][key] - scores[other][key] for key in scores[name]}
        classes = " | ".join(interval(gains[f"f1 {c}"], 100, "+.1f") for c in found.classes)
        print(f"| {name} less {other} | {interval(gains['macro_f1'], 100, '+.1f')} | {classes} | "
              f"{gains['log_loss'][0]:+.3f} |", flush=True)  # fmt: skip


def interval(values: np.ndarray, scale: float, form: str) -> str:
    low, high = np.quantile(values[1:], (0.025, 0.975))
    return f"{scale * values[0]:{form}} ({scale * low:{form}} to {scale * high:{form}})"


def mean_scores(found: Judged, seeds: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Scores in each draw of the fields, the mean over the seeds."""
    judged_by = sample(found.ids, found.classes, found.true, found.field, seeds)
    return {name: each.mean(0) for name, each in Bootstrap(judged_by).scores(list(judged_by.said)).items()}


if __name__ == "__main__":
    main()
