"""Does the default training (length by the curve, rates raced) reach what a grid of rates and lengths reaches?

    python benchmarks/defaults.py TRAIN.parquet TEST.parquet WEIGHTS --out FOLDER [--only CASE ...]

TRAIN and TEST are cutouts of different sky in skythaw's Parquet form, WEIGHTS those of MobileNetV2. For each case and
depth, the mean test macro-F1 over the seeds with the defaults stands beside that of the best of four rates x two
lengths, the best by test: a maximum of eight noisy means, so it is flattered. Beside it is the best of the eight by
validation, which is what a user of a grid would get. It resumes: the run folders are in FOLDER.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from real_cutouts import arguments, study

from skythaw.spec import Cell
from skythaw.study.cell_result import Result
from skythaw.study.convergence import not_converged
from skythaw.study.ledger import Ledger
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
VALIDATION = 0.035
"""share of TRAIN: 630 images, which a grid with given epochs scores after each of them"""


@dataclass(frozen=True)
class Case:
    """One network and number of images."""

    backbone: str
    images: int
    depths: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: tuple[int, int]
    """lengths of the grid"""

    @property
    def name(self) -> str:
        return f"{self.backbone}-{self.images}"


FIVE = ("0%", "25%", "50%", "75%", "100%")
CASES = (
    Case("mobilenetv2", 300, FIVE, (0, 1), (20, 60)),
    Case("efficientnet_lite0", 300, FIVE, (0, 1), (20, 60)),
    Case("mobilenetv2", 1500, FIVE, (0, 1), (6, 18)),
    Case("mobilenetv2", 16_000, ("0%", "50%", "100%"), (0,), (2, 5)),
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="*", choices=[case.name for case in CASES])
    given = parser.parse_args()
    print("| case | depth | default | rate | steps | best of grid, by test | by validation | default less best | |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for case in CASES:
        if not given.only or case.name in given.only:
            begun = time.perf_counter()
            default = run(given, case, "default", {})
            halfway = time.perf_counter()
            grid = run(given, case, "grid", {"lr": list(RATES), "epochs": list(case.epochs)})
            show(case, default, grid)
            print(f"({halfway - begun:.0f} s, the grid {time.perf_counter() - halfway:.0f} s)\n", flush=True)


def run(given: Any, case: Case, name: str, axes: dict[str, Any]) -> list[tuple[Cell, Result]]:
    """Run a study of a case; its cells and results."""
    grid = {"backbone": [case.backbone], "depth": list(case.depths), "train_size": [case.images]}
    asked = study(given, f"{case.name}-{name}", {**grid, "seed": list(case.seeds), **axes}, validation=VALIDATION)
    out = given.out / asked.name
    run_study(asked, RunSettings(out=out, cache=given.out / "cache", workers=given.workers))
    with Ledger.read(out) as ledger:
        return [(entry.cell, entry.result) for entry in ledger.entries() if entry.result]


def show(case: Case, default: list[tuple[Cell, Result]], grid: list[tuple[Cell, Result]]) -> None:
    """One row a depth."""
    for depth in sorted({cell.depth for cell, _ in default}):
        own = [result for cell, result in default if cell.depth == depth]
        settings: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
        for cell, result in grid:
            if cell.depth == depth:
                settings[cell.recipe.lr, cell.recipe.epochs].append(result)
        best, chosen = (max(settings.items(), key=lambda each: mean(each[1], part)) for part in ("test", "validation"))
        columns = (
            case.name,
            depth,
            f"{mean(own, 'test'):.3f}",
            f"{own[0].lr:g}",
            f"{fmean(result.peak_step or 0 for result in own):.0f}",
            f"{mean(best[1], 'test'):.3f} ({best[0][0]:g}, {best[0][1]} epochs)",
            f"{mean(chosen[1], 'test'):.3f} ({chosen[0][0]:g}, {chosen[0][1]} epochs)",
            f"{100 * (mean(own, 'test') - mean(best[1], 'test')):+.1f} points",
            "; ".join(dict.fromkeys(why for result in own for why in not_converged(result))),
        )
        print("|", " | ".join(map(str, columns)), "|", flush=True)


def mean(results: list[Result], part: str) -> float:
    return fmean(result.scores[part]["macro_f1"] for result in results)


if __name__ == "__main__":
    main()
