"""Standard work S2, what an honest user runs: five depths, three rates, three seeds, trained until they stop gaining.

    python benchmarks/s1/prepare.py DATA.parquet TEST.parquet s1           # once: the files, divided
    python benchmarks/s2.py s1 WEIGHTS.safetensors --out FOLDER [--train-size 1500] [--network mobilenetv2] [--size 64]

The tuned loop (`s1/curve_timm.py`) trains every setting; so does skythaw with the rates as an axis (`grid`). Then
skythaw does what it does by itself: trials settle each depth's rate and a race drops seeds (`races`), or a search of
seven depths decides (`search`). Each way of skythaw starts with empty caches.

Times are processor seconds, those of trials and kept activations included; of skythaw without the start of its
processes. The choice is by validation; its score is test macro-F1, mean over seeds, with Student's 95 % interval over
them. One training is the mean of the loop's with all blocks at the rate that it chose there. It resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "s1"))

from compare import SEVEN, SHARES  # noqa: E402
from curve_timm import run as loop  # noqa: E402
from plain_timm import NETWORKS  # noqa: E402

from skythaw import import_images  # noqa: E402
from skythaw.spec import Study  # noqa: E402
from skythaw.study.depth_search import search  # noqa: E402
from skythaw.study.ledger import Ledger  # noqa: E402
from skythaw.study.open_study import RunSettings  # noqa: E402
from skythaw.study.run_study import run_study  # noqa: E402

RATES = (3e-4, 1e-3, 3e-3)


@dataclass(frozen=True)
class Training:
    """One that was done in full."""

    depth: float
    """share of the blocks"""
    rate: float
    seed: int
    validation: float
    test: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default="mobilenetv2")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--train-size", type=int, default=1500)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    ways: dict[str, Callable[[argparse.Namespace], tuple[list[Training], float]]] = {
        "tuned loop": by_loop,
        "skythaw, grid": lambda a: by_skythaw(a, "grid", SHARES, list(a.rates)),
        "skythaw, races": lambda a: by_skythaw(a, "races", SHARES, None),
        "skythaw, search of seven depths": lambda a: by_skythaw(a, "search", SEVEN, None),
    }
    print("| way | trainings | processor s | loop takes | trainings of all blocks | chosen | macro-F1 (95 %) |")
    print("|---|---|---|---|---|---|---|", flush=True)
    first = one = 0.0
    for name, way in ways.items():
        some, seconds = way(args)
        if not first:
            first, one = seconds, _one(args)
        row = (name, len(some), f"{seconds:.0f}", f"{first / seconds:.2f} x", f"{seconds / one:.1f}", chosen(some))
        print("|", " | ".join(map(str, row)), "|", flush=True)


def chosen(some: list[Training]) -> str:
    """The setting that is best on validation, and its score."""
    settings: dict[tuple[float, float], list[Training]] = {}
    for each in some:
        settings.setdefault((each.depth, each.rate), []).append(each)
    most = max(map(len, settings.values()))
    (depth, rate), best = max(
        (each for each in settings.items() if len(each[1]) == most),
        key=lambda each: fmean(t.validation for t in each[1]),
    )
    scores = [each.test for each in best]
    half = stdev(scores) / len(scores) ** 0.5 * student.ppf(0.975, len(scores) - 1) if len(scores) > 1 else float("nan")
    return f"{depth:.0%} at {rate:g} | {fmean(scores):.3f} ({fmean(scores) - half:.3f} to {fmean(scores) + half:.3f})"


def by_loop(args: argparse.Namespace) -> tuple[list[Training], float]:
    """The loop's trainings, in processes of one thread, and their processor seconds."""
    rows = _rows(args)
    there = {(row["depth"], row["rate"], row["seed"]) for row in rows}
    depths = [float(each[:-1]) / 100 for each in SHARES]
    missing = [each for each in product(depths, args.rates, range(args.seeds)) if each not in there]
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as pool, _file(args).open("a") as file:
        for row in pool.map(_loop, [(args, each) for each in missing]):
            print(json.dumps(row), file=file, flush=True)
    rows = _rows(args)
    some = [Training(r["depth"], r["rate"], r["seed"], r["validation"], r["test"]) for r in rows]
    return some, sum(row["processor"] for row in rows)


def _loop(given: tuple[argparse.Namespace, tuple[float, float, int]]) -> dict[str, Any]:
    args, (depth, rate, seed) = given
    return loop(args, depth, rate, seed)


def _file(args: argparse.Namespace) -> Path:
    return Path(args.out) / "loop.jsonl"


def _rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _file(args).read_text().splitlines()] if _file(args).exists() else []


def _one(args: argparse.Namespace) -> float:
    """Processor seconds of one training of all blocks."""
    deep = [row for row in _rows(args) if row["depth"] == 1]
    by_rate = {rate: [row for row in deep if row["rate"] == rate] for rate in args.rates}
    best = max(by_rate.values(), key=lambda some: fmean(row["validation"] for row in some))
    return fmean(row["processor"] for row in best)


def by_skythaw(
    args: argparse.Namespace, name: str, depths: tuple[str, ...], rates: list[float] | None
) -> tuple[list[Training], float]:
    """The cells of a study, and the processor seconds of cells and trials."""
    out = args.out / name
    study = study_of(args, name, depths, rates)
    there = RunSettings(out / "run", out / "cache", workers=args.workers)
    if name == "search":
        search(study, there)
    else:
        run_study(study, there, with_race=rates is None)
    with Ledger.read(there.out) as ledger:
        cells, trials = ledger.entries(), ledger.entries("trial")
    done = [(e.cell, e.result) for e in cells if e.result]
    some = [
        Training(c.depth / r.blocks, r.lr, c.seed, *(r.scores[part]["macro_f1"] for part in ("validation", "test")))
        for c, r in done
    ]
    return some, sum(e.result.seconds["processor"] for e in (*cells, *trials) if e.result)


def study_of(args: argparse.Namespace, name: str, depths: tuple[str, ...], rates: list[float] | None) -> Study:
    """The study, on the files that the loop reads, in skythaw's form."""
    for part in ("pool", "test"):
        if not (args.out / f"{part}.parquet").exists():
            labels = args.folder / f"{part}.csv"
            import_images(args.folder / part, args.out / f"{part}.parquet", labels=labels)
    axes = {"backbone": [args.network], "depth": list(depths), "train_size": [args.train_size]}
    weights: Any = str(args.weights.resolve())
    if args.network == "mobilenetv2":
        weights = {"file": weights, "mean": [0.5], "std": [0.5], "options": NETWORKS[args.network][1]}
    return Study.parse(
        {
            "name": f"s2-{name}",
            "data": {
                "path": str((args.out / "pool.parquet").resolve()),
                "test_path": str((args.out / "test.parquet").resolve()),
                "crop": args.size,
                "split": {"by": "field", "validation": 0.2, "seed": 0},
            },
            "grid": {**axes, "seed": list(range(args.seeds)), **({"lr": rates} if rates else {})},
            "weights": {args.network: weights},
        }
    )


if __name__ == "__main__":
    main()
