"""What does `study run --race` save, and what does it lose?

    python benchmarks/race.py TRAIN.parquet TEST.parquet WEIGHTS --out FOLDER [--images 300] [--rates 1e-3 1e-2]

TRAIN and TEST are cutouts of different sky in skythaw's Parquet form, WEIGHTS those of MobileNetV2. The whole study is
trained; then the same study is raced, and wherever the race asks for a cell it is given the one of the whole study: the
same cell has the same bits, so this is what the race would have trained. With several `--rates` these are an axis, and
every depth competes with every rate; with none, each depth races for its rate as usual.

Times are the seconds of cells and trials. Regret is the test macro-F1 (mean over all seeds of the whole study) of the
setting that is best by test, less that of the choice by validation, in points: of the race among what it left with all
seeds, and of the whole study. It resumes: the run folders are in FOLDER.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from real_cutouts import arguments, study
from search_regret import FULL, SEARCH, entries

from skythaw import registry
from skythaw.study.ledger import Ledger
from skythaw.study.ledger_rows import Entry
from skythaw.study.open_study import RunSettings
from skythaw.study.run_study import run_study
from skythaw.study.study_status import RACE

Setting = tuple[int, float | str]
"""Depth and rate."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--depths", nargs="+", default=("0%", "17%", "33%", "50%", "67%", "83%", "100%"))
    parser.add_argument("--rates", type=float, nargs="*", default=())
    parser.add_argument("--validation", type=float, default=0.07, help="share of TRAIN")
    given = parser.parse_args()
    registry.BUILTIN["engine"]["from_full"] = "search_regret:FromFull"
    grid: dict[str, Any] = {"backbone": ["mobilenetv2"], "depth": list(given.depths), "train_size": [given.images]}
    grid |= {"seed": list(range(given.seeds))} | ({"lr": list(given.rates)} if given.rates else {})
    asked = study(given, f"race-{given.images}", grid, validation=given.validation)
    whole, raced = given.out / FULL, given.out / SEARCH
    run_study(asked, RunSettings(whole, given.out / "cache", workers=given.workers))
    run_study(asked, RunSettings(raced, given.out / "cache", engine="from_full", cache_size=0), with_race=True)
    show(entries(whole), entries(raced), given.seeds)
    with Ledger.read(raced) as ledger:
        for each in ledger.remark(RACE):
            low, high = each["behind"]
            behind = f"{100 * low:.1f} to {100 * high:.1f} points behind {each['better']} on validation"
            print(f"stopped after {len(each['trained'])} seeds: {each['setting']}, {behind}")


def show(whole: list[Entry], raced: list[Entry], seeds: int) -> None:
    """The table: what each took, and what each chose."""
    test, validation = means(whole, "test"), means(whole, "validation")
    left = {s for s in validation if sum(_setting(e) == s and e.state == "done" for e in raced) >= seeds}
    print("| | cells | seconds | chosen by validation | test macro-F1 | regret |")
    print("|---|---|---|---|---|---|")
    for name, some, among in (("whole study", whole, set(validation)), ("race", raced, left)):
        done = [e.result for e in some if e.result]
        chosen = max(sorted(among, key=str), key=lambda each: validation[each])
        cells = sum("test" in each.scores for each in done)
        seconds = sum(each.seconds["total"] for each in done)
        row = (name, cells, f"{seconds:.0f}", chosen, f"{test[chosen]:.3f}")
        print(f"| {' | '.join(map(str, row))} | {100 * (max(test.values()) - test[chosen]):.2f} |")
    spent = [sum(e.result.seconds["total"] for e in some if e.result) for some in (whole, raced)]
    print(f"\ntime ratio {spent[0] / spent[1]:.2f}; by setting: {', '.join(f'{s} {t:.3f}' for s, t in test.items())}")


def _setting(entry: Entry) -> Setting:
    return entry.cell.depth, entry.cell.recipe.lr


def means(some: list[Entry], part: str) -> dict[Setting, float]:
    """Macro-F1 of each setting, mean over seeds."""
    found: dict[Setting, list[float]] = {}
    for e in some:
        if e.result and "test" in e.result.scores:
            found.setdefault(_setting(e), []).append(e.result.scores[part]["macro_f1"])
    return {each: fmean(scores) for each, scores in sorted(found.items(), key=str)}


if __name__ == "__main__":
    main()
