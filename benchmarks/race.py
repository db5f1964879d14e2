"""What do races of rates, depths and seeds save against training every setting, and what do they lose?

    python benchmarks/race.py TRAIN.parquet TEST.parquet WEIGHTS --out FOLDER [--images 300] [--rates 1e-3 1e-2]

TRAIN and TEST are cutouts of different sky in skythaw's Parquet form, WEIGHTS those of MobileNetV2. Two studies are
trained: the whole grid of depths, rates and seeds; and depths and seeds alone, where trials settle each depth's rate
(the default). Then `study run --race` of either, and `study search`, make their choices: wherever they ask for a cell,
they are given the one of the study, which has the same bits.

Times are processor seconds of cells and trials; one training is the mean of those with all blocks at the rate that
trials settled. The choice is by validation, among the settings that have all seeds. Regret is the test macro-F1 (mean
over seeds) of the setting of the whole grid that is best by test, less that of the choice, in points: it is chosen by
noisy means, so it is seldom 0. It resumes: the run folders are in FOLDER.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from real_cutouts import arguments, study
from search_regret import DEPTHS, FULL, entries

from skythaw import registry
from skythaw.spec import Study
from skythaw.study.depth_search import search
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study
from skythaw.study.study_status import RACE

Setting = tuple[int, float]
"""Depth and rate."""
RATES = (3e-4, 1e-3, 3e-3, 1e-2)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--depths", nargs="+", default=DEPTHS)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--validation", type=float, default=0.07, help="share of TRAIN")
    given = parser.parse_args()
    registry.BUILTIN["engine"]["from_full"] = "search_regret:FromFull"
    grid: dict[str, Any] = {"backbone": ["mobilenetv2"], "depth": list(given.depths), "train_size": [given.images]}
    grid |= {"seed": list(range(given.seeds))}
    settled = study(given, f"settled-{given.images}", grid, validation=given.validation)
    whole = study(given, f"grid-{given.images}", grid | {"lr": list(given.rates)}, validation=given.validation)
    ways = {"the whole grid": train(given, "grid", whole), "grid, seeds raced": race(given, "grid", whole)}
    ways["rates by trials"] = train(given, "settled", settled)
    ways["rates by trials, seeds raced"] = race(given, "settled", settled)
    search(settled, there(given, "settled", "search"))
    ways["search"] = entries(given.out / "settled" / "search")
    show(ways, given.seeds)


def there(given: Any, name: str, what: str) -> RunSettings:
    """Where a race or search of a study that is trained goes."""
    return RunSettings(given.out / name / what, given.out / "cache", engine="from_full", cache_size=0)


def train(given: Any, name: str, asked: Study) -> list[Entry]:
    folder = given.out / name / FULL
    run_study(asked, RunSettings(folder, given.out / "cache", workers=given.workers))
    return entries(folder)


def race(given: Any, name: str, asked: Study) -> list[Entry]:
    settings = there(given, name, "race")
    run_study(asked, settings, with_race=True)
    with Ledger.read(settings.out) as ledger:
        for each in ledger.remark(RACE) or ():
            low, high = each["behind"]
            behind = f"{100 * low:.1f} to {100 * high:.1f} points behind {each['better']} on validation"
            print(f"{name}: stopped after {len(each['trained'])} seeds: {each['setting']}, {behind}")
    return entries(settings.out)


def show(ways: dict[str, list[Entry]], seeds: int) -> None:
    """The table: what each way took, and what it chose."""
    whole = ways["the whole grid"]
    best = max(means(whole, "test", seeds).values())
    deepest = max(entry.cell.depth for entry in whole)
    one = fmean(_seconds([e]) for e in ways["rates by trials"] if is_cell(e) and e.cell.depth == deepest)
    print(f"\none training of all blocks: {one:.0f} s\n")
    print("| way | cells | processor s | grid takes | full trainings | chosen by validation | test macro-F1 | regret |")
    print("|---|---|---|---|---|---|---|---|")
    for name, some in ways.items():
        validation, test = means(some, "validation", seeds), means(some, "test", seeds)
        chosen = max(validation, key=lambda each: validation[each])
        spent = _seconds(some)
        row = (name, sum(map(is_cell, some)), f"{spent:.0f}", f"{_seconds(whole) / spent:.2f} x", f"{spent / one:.1f}")
        row += (f"{chosen[0]} of {deepest} blocks at {chosen[1]}", f"{test[chosen]:.3f}")
        print(f"| {' | '.join(map(str, row))} | {100 * (best - test[chosen]):.2f} |")
    for name in ("the whole grid", "rates by trials"):
        print(f"\n{name}: {', '.join(f'{s} {t:.3f}' for s, t in means(ways[name], 'test', seeds).items())}")


def is_cell(entry: Entry) -> bool:
    """Whether it was trained and scored in full: no trial."""
    return entry.result is not None and "test" in entry.result.scores


def _seconds(some: list[Entry]) -> float:
    return sum(each.result.seconds["processor"] for each in some if each.result)


def means(some: list[Entry], part: str, seeds: int) -> dict[Setting, float]:
    """Macro-F1 of each setting that has all seeds, mean over them."""
    found: dict[Setting, list[float]] = {}
    for e in some:
        if e.result and is_cell(e):
            found.setdefault((e.cell.depth, e.result.lr), []).append(e.result.scores[part]["macro_f1"])
    return {s: fmean(scores) for s, scores in sorted(found.items()) if len(scores) == seeds}


if __name__ == "__main__":
    main()
