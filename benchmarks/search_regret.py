"""How much does `study search` lose against the whole study, and what does it save?

    python benchmarks/search_regret.py TRAIN.parquet TEST.parquet WEIGHTS --out FOLDER --images 300 600 1500

TRAIN and TEST are cutouts of different sky in skythaw's Parquet form, WEIGHTS those of MobileNetV2. Each number of
images is tried with several splits of TRAIN into training and validation. The whole study of seven depths is trained;
then the search runs, and wherever it asks for a cell it is given the one of the whole study, trials of rates included:
the same cell has the same bits, so this is what the search would have trained.

Regret is the test macro-F1 (mean over seeds) of the depth that is best by test in the whole study, less that of the
search's choice, in points. Both are chosen or scored by noisy means, so it is seldom 0: beside it stands the regret of
the whole study's own best by validation. The share saved is of the seconds that cells and trials took. It resumes: the
run folders are in FOLDER. Seven depths, three seeds and five splits of 300 images take hours on two cores.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from real_cutouts import arguments, study

from skythaw import registry
from skythaw.engines.engine import Outcomes, attempt
from skythaw.engines.serial import Serial
from skythaw.spec import Study
from skythaw.stats.cell_predictions import predictions_path
from skythaw.study.cell_result import Result
from skythaw.study.cell_task import CellTask
from skythaw.study.depth_search import search
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study

DEPTHS = ("0%", "17%", "33%", "50%", "67%", "83%", "100%")
FULL, SEARCH = "full", "search"
"""the two run folders of a case"""


class FromFull(Serial):
    """Trains nothing: gives what the whole study, in the folder beside, has of a cell."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Outcomes:
        for item in items:
            yield attempt(_of_full, item)


def _of_full(task: CellTask) -> Result:
    out, key = task.locations.out, task.cell.key
    full = out.parent / FULL
    result: Result = results(full)[key]
    target = predictions_path(out, key)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(predictions_path(full, key), target)
    return result


@cache
def results(run: Path) -> dict[str, Result]:
    """Of cells and trials, by their keys."""
    return {entry.key: entry.result for entry in entries(run) if entry.result}


def entries(run: Path) -> list[Entry]:
    with Ledger.read(run) as ledger:
        return [*ledger.entries(), *ledger.entries("trial")]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[300, 600, 1500])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--depths", nargs="+", default=DEPTHS)
    parser.add_argument("--validation", type=float, default=0.07, help="share of TRAIN")
    given = parser.parse_args()
    registry.BUILTIN["engine"]["from_full"] = "search_regret:FromFull"
    print("| images | split | test macro-F1 of each depth | chosen | regret | whole study, by validation | saved |")
    print("|---|---|---|---|---|---|---|", flush=True)
    found = [show(given, images, split) for images in given.images for split in range(given.splits)]
    for images in (*given.images, None):
        some = [each for each in found if images in (None, each["images"])]
        print(f"\n{images or 'all'} images: " + "; ".join(summary(some, name) for name in ("regret", "by_validation")))
        print(f"saved {100 * fmean(each['saved'] for each in some):.0f} % of the seconds")


def show(given: Any, images: int, split: int) -> dict[str, float]:
    """One case: a row, and its numbers."""
    asked, folder = study_of(given, images, split), given.out / f"{images}-{split}"
    run_study(asked, RunSettings(folder / FULL, given.out / "cache", workers=given.workers))
    there = RunSettings(folder / SEARCH, given.out / "cache", engine="from_full", cache_size=0)
    (choice,) = [each for each in search(asked, there) if each.fate == "best on validation"]
    test, validation = (means(folder / FULL, part) for part in ("test", "validation"))
    best, by_validation = max(test.values()), max(validation, key=lambda depth: validation[depth])
    spent, whole = (sum(e.result.seconds["total"] for e in entries(folder / n) if e.result) for n in (SEARCH, FULL))
    row = {
        "images": images,
        "regret": 100 * (best - test[choice.depth]),
        "by_validation": 100 * (best - test[by_validation]),
        "saved": 1 - spent / whole,
    }
    depths = ", ".join(f"{depth}: {score:.3f}" for depth, score in test.items())
    regrets = f"{row['regret']:.2f} | {by_validation}: {row['by_validation']:.2f}"
    print(f"| {images} | {split} | {depths} | {choice.depth} | {regrets} | {row['saved']:.0%} |", flush=True)
    return row


def study_of(given: Any, images: int, split: int) -> Study:
    grid = {"backbone": ["mobilenetv2"], "depth": list(given.depths), "train_size": [images]}
    grid["seed"] = list(range(given.seeds))
    return study(given, f"search-{images}-{split}", grid, split, given.validation)


def means(run: Path, part: str) -> dict[int, float]:
    """Macro-F1 of each depth, mean over seeds."""
    scored = [(e.cell.depth, e.result.scores) for e in entries(run) if e.result and "test" in e.result.scores]
    return {d: fmean(s[part]["macro_f1"] for depth, s in scored if depth == d) for d in sorted({d for d, _ in scored})}


def summary(cases: list[dict[str, float]], name: str) -> str:
    """Mean with its standard error, and the largest."""
    some = [each[name] for each in cases]
    error = stdev(some) / len(some) ** 0.5 if len(some) > 1 else float("nan")
    what = {"regret": "the search", "by_validation": "the whole study by validation"}[name]
    return f"{what}: mean regret {fmean(some):.2f} ± {error:.2f} points, largest {max(some):.2f}"


if __name__ == "__main__":
    main()
