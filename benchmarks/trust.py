"""Does a report keep its word? Simulated studies whose truth is known, judged by the package's own code.

    python benchmarks/trust.py [--studies 500] [--processes 2] [--only WORDS]

Each line is so many studies: how often an interval covers, how often a difference or a claim is found where there is
none, how often a study of the stated size shows what it should, and how often the recommended depth is a good one. The
Monte-Carlo error of each share stands beside it. What came of it is in docs/report.md.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from scipy.stats import norm
from trust_lines import TrustLine, ece_lines, law_lines

from skythaw.report.statistics.candidate import Candidate
from skythaw.report.statistics.claims import CONTRADICTED, SUPPORTED, UNKNOWN, claims
from skythaw.report.statistics.depth_contest import Contest
from skythaw.report.statistics.network_contest import ContestedNetwork
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.scored_sample import Sample
from skythaw.stats.study_size import study_size
from skythaw.stats.surely_worse import FEWEST, surely_worse

OBJECT, GROUP, OWN = 1.0, 0.5, 0.5
"""Spreads of how hard an object and its field are, and of what each network makes of an object."""
DRAWS = 400
MOST_OBJECTS = 40_000
"""A larger study is not simulated: it counts as one of which the size can't be told."""
BLOCKS = 20

Found = dict[str, list[float]]
"""By the name of a column: the outcomes of one study, each 0 or 1 (or a number)."""


@dataclass(frozen=True)
class Truth:
    """What is true of a simulated study of some networks."""

    scores: tuple[tuple[float, ...], ...]
    """of each network: the true score of each depth, over all surveys and seeds"""
    objects: int = 1000
    seeds: int = 3
    spread: float = 0.01
    """standard deviation between seeds, in the score"""
    of_best: float | None = None
    """that of the truly best depth, where it is another one"""


def contests(truth: Truth, rng: np.random.Generator) -> list[Contest]:
    """Simulate a study, and let its depths compete."""
    return compete(truth, _sample(*simulated(truth, rng)), rng)


def simulated(truth: Truth, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """The true classes, the fields, and what networks say: fields differ in how hard they are, seeds in their luck."""
    sizes = rng.integers(3, 9, truth.objects)
    group = np.repeat(np.arange(truth.objects), sizes)[: truth.objects]
    count = len(group)
    hard = GROUP * rng.normal(size=group[-1] + 1)[group] + OBJECT * rng.normal(size=count)
    true = rng.integers(2, size=count)
    said = {}
    for n, scores in enumerate(truth.scores):
        for depth, score in enumerate(scores):
            unlike = truth.of_best is not None and score == max(scores)
            skill, luck = _skill(score, truth.of_best if unlike else truth.spread)
            for seed in range(truth.seeds):
                way = skill + luck * rng.normal() + hard + OWN * rng.normal(size=count)
                said[f"{n}-{depth}-{seed}"] = np.where(way > 0, true, 1 - true)
    return true, group, said


def compete(truth: Truth, sample: Sample, rng: np.random.Generator) -> list[Contest]:
    """The contest of each network on some objects."""
    bootstrap = Bootstrap(sample, DRAWS, seed=int(rng.integers(2**31)))
    found = []
    for n, scores in enumerate(truth.scores):
        candidates = []
        for depth in range(len(scores)):
            keys = tuple(f"{n}-{depth}-{seed}" for seed in range(truth.seeds))
            place = round(depth * BLOCKS / max(1, len(scores) - 1))
            candidates.append(Candidate(place, tuple(range(truth.seeds)), keys, bootstrap.scores(keys), 0.5))
        found.append(Contest(candidates, sample))
    return found


def _skill(score: float, spread: float) -> tuple[float, float]:
    """The skill and its spread between seeds that give a score and its spread."""
    z = norm.ppf(score)
    luck, rest = 0.0, np.hypot(np.hypot(OBJECT, GROUP), OWN)
    for _ in range(20):
        luck = spread * np.hypot(rest, luck) / norm.pdf(z)
    return float(z * np.hypot(rest, luck)), float(luck)


def _sample(true: np.ndarray, group: np.ndarray, said: dict[str, np.ndarray]) -> Sample:
    return Sample(
        run=Path(),
        part="test",
        classes=("A", "B"),
        ids=tuple(map(str, range(len(true)))),
        true=true,
        group=group,
        grouped=True,
        numbers={},
        said=said,
        loss={key: np.zeros(len(true)) for key in said},
        missing=(),
    )


def contested(found: Sequence[Contest], names: Sequence[str]) -> list[ContestedNetwork]:
    """The same with the rows of a report, as far as claims ask for them."""
    row = {"blocks": BLOCKS, "tpr": 0.5, "tlr": 0.5, "validation_accuracy": {}, "peak_epoch": 1.0, "gap": 0.0}
    row |= {"accuracy": {}, "parameters": 1, "file_bytes": 1, "latency": None}
    return [
        ContestedNetwork(
            {"network": name, "backbone": name, "weights": None},
            contest,
            {each.depth: row for each in contest.candidates},
        )
        for name, contest in zip(names, found, strict=True)
    ]


def coverage(truth: Truth, rng: np.random.Generator) -> Found:
    """Do the intervals of scores and of differences hold the truth?"""
    (contest,) = contests(truth, rng)
    scores = truth.scores[0]
    ends = [contest.interval(each, "macro_f1") for each in contest.whole]
    apart = [(scores[b] - scores[a], d) for (a, b), d in contest.pairs().items()]
    return {
        "interval of a score": [low <= s <= high for s, (low, high) in zip(scores, ends, strict=True)],
        "of a difference": [d.low <= t <= d.high for t, d in apart],
        "all at once": [all(d.low_simultaneous <= t <= d.high_simultaneous for t, d in apart)],
        "interval and p disagree": [_disagree(d) for _, d in apart],
    }


def _disagree(found: Any) -> bool:
    alone = (found.low > 0 or found.high < 0) != (found.p < 0.05)
    together = (found.low_simultaneous > 0 or found.high_simultaneous < 0) != (found.p_simultaneous < 0.05)
    return bool(alone or together)


def false_alarms(truth: Truth, rng: np.random.Generator) -> Found:
    """What is found where all depths are truly alike?"""
    (contest,) = contests(truth, rng)
    verdicts = [each["verdict"] for each in claims(contested([contest], ["resnet50"]))]
    return {
        "any pair differs": [any(d.sign for d in contest.pairs().values())],
        "claim 1 supported": [verdicts[0] == SUPPORTED],
        "claim 2 contradicted": [verdicts[1] == CONTRADICTED],
        "claims told": [any(each != UNKNOWN for each in verdicts)],
    }


def own_depths(truth: Truth, rng: np.random.Generator) -> Found:
    """Claim 3 of two networks."""
    verdict = claims(contested(contests(truth, rng), ["resnet50", "vgg16"]))[2]["verdict"]
    return {"claim 3 supported": [verdict == SUPPORTED], "claim 3 contradicted": [verdict == CONTRADICTED]}


def mobile(truth: Truth, rng: np.random.Generator) -> Found:
    """Claims 4 and 5 of four networks that are alike."""
    names = ("densenet121", "xception", "vgg16", "mobilenetv2")
    verdicts = [each["verdict"] for each in claims(contested(contests(truth, rng), names))]
    return {
        "claim 4 contradicted": [verdicts[3] == CONTRADICTED],
        "claim 5 supported": [verdicts[4] == SUPPORTED],
        "claim 5 contradicted": [verdicts[4] == CONTRADICTED],
    }


def power(truth: Truth, rng: np.random.Generator) -> Found:
    """A study says what would show the difference that it sees; is it shown where it is real?"""
    (contest,) = contests(truth, rng)
    top = contest.whole.index(contest.best)
    others = [(d, a if b == top else b) for (a, b), d in contest.pairs().items() if top in (a, b) and not d.sign]
    if not others:
        return {}
    seen, place = max(others, key=lambda each: abs(each[0].value))
    size = study_size(seen, truth.objects, truth.seeds, seen.value)
    if size is None or size.objects > MOST_OBJECTS:
        return {"size told": [False]}
    scores = [truth.scores[0][0]] * len(truth.scores[0])
    scores[top] += abs(seen.value) / 2
    scores[place] -= abs(seen.value) / 2
    larger = replace(truth, scores=(tuple(scores),), objects=size.objects, seeds=size.seeds)
    (again,) = contests(larger, rng)
    return {
        "size told": [True],
        "shown at the stated size": [bool(again.pairs()[min(top, place), max(top, place)].sign)],
    }


def recommendation(truths: Sequence[Truth], rng: np.random.Generator) -> Found:
    """Is the recommended depth within 0.01 of the truly best one, and is it when it says that it is sure?"""
    truth = truths[int(rng.integers(len(truths)))]
    (contest,) = contests(truth, rng)
    scores = truth.scores[0]
    good = [score >= max(scores) - 0.01 for score in scores]
    right = good[contest.whole.index(contest.recommended)]
    sure = contest.unsure is None
    best = {i for i, score in enumerate(scores) if score == max(scores)}
    places = {contest.whole.index(each) for each in contest.may_be_best()}
    return {
        "within 0.01 of the best": [right],
        "the best by its mean alone": [good[contest.whole.index(contest.best)]],
        "sure": [sure],
        "right where sure": [right] if sure else [],
        "sure and wrong": [sure and not right],
        "the set holds the best": [bool(best & places)],
    }


def race(truth: Truth, rng: np.random.Generator) -> Found:
    """Seed by seed, without the depths that can no longer be the best: is the truly best one lost, what is saved?

    Validation and test are other objects, seen by the same networks.
    """
    true, group, said = simulated(replace(truth, objects=2 * truth.objects), rng)
    first = group < group[truth.objects]
    parts = [_sample(true[w], group[w] - group[w].min(), {k: s[w] for k, s in said.items()}) for w in (first, ~first)]
    (validation,), (test,) = (compete(truth, part, rng) for part in parts)
    scores = truth.scores[0]
    going, kept = list(range(len(scores))), [truth.seeds] * len(scores)
    for seeds in range(FEWEST, truth.seeds):
        so_far = [validation.candidates[i].scores["macro_f1"][:seeds] for i in going]
        for i, beaten in zip(list(going), surely_worse(so_far, [True] * len(going), truth.seeds - FEWEST), strict=True):
            if beaten:
                going.remove(i)
                kept[i] = seeds
    raced = [_first(each, n, truth.seeds) for each, n in zip(test.candidates, kept, strict=True)]
    contest = Contest(raced, test.sample)
    good = scores[raced.index(contest.recommended)] >= max(scores) - 0.01
    return {
        "the best is dropped": [scores.index(max(scores)) not in going],
        "cells saved": [1 - sum(kept) / (len(scores) * truth.seeds)],
        "recommended is within 0.01 of the best": [good],
        "right where sure": [good] if contest.unsure is None else [],
    }


def _first(candidate: Candidate, seeds: int, of: int) -> Candidate:
    """A depth with its first seeds, as a race leaves it."""
    scores = {name: values[:seeds] for name, values in candidate.scores.items()}
    some = {"seeds": candidate.seeds[:seeds], "keys": candidate.keys[:seeds], "scores": scores}
    return replace(candidate, **some, out_of_race=seeds < of)


def shapes(depths: int, objects: int) -> list[Truth]:
    """Many truths: flat, rising and then level, falling, a peak, steps, depths without order; seeds alike or not."""
    x, rough = np.linspace(0, 1, depths), np.random.default_rng(7)
    curves = [
        np.zeros(depths),
        -0.15 * np.exp(-6 * x),
        -0.1 * (1 - x),
        -0.3 * (x - 0.5) ** 2,
        -0.1 * x,
        np.where(x < 0.35, -0.04, 0.0),
        np.where(x < 0.35, -0.015, 0.0),
        *(0.03 * rough.normal(size=(2, depths))),
        *(0.012 * rough.normal(size=(2, depths))),
    ]
    return [
        Truth((tuple((0.8 + curve).tolist()),), objects, 3, spread)
        for curve in curves
        for spread in (0.0, 0.003, 0.01, 0.02, 0.03)
    ]


def beyond_the_margin(objects: int) -> list[Truth]:
    """Truths of which a depth is behind the best by hardly more than the margin: there it is easiest to be wrong."""
    near = ((0.785, 0.80), (0.788, 0.80), (0.80, 0.80, 0.80, 0.8125), (0.785, 0.785, 0.785, 0.80))
    return [Truth((scores,), objects, seeds, spread) for scores in near for seeds in (2, 3) for spread in (0.01, 0.03)]


EQUAL = (0.8,) * 4
REAL = (0.70, 0.73, 0.75, 0.765, 0.77, 0.775, 0.78)
"""about what depths of real cutouts have (docs/log.md)"""
POOR = (0.68, 0.70, 0.70, 0.68, 0.66, 0.62, 0.55)
"""the same depths at a rate that does not suit them"""
SAME_BEST = ((0.7, 0.8, 0.7), (0.75, 0.8, 0.75))
Line = tuple[str, Callable[[np.random.Generator], Found]]


def lines() -> Iterator[Line]:
    """Every line of the table: what is simulated, and one study of it."""
    apart = ((0.7, 0.78, 0.8, 0.8),)
    for seeds, spread, objects in ((3, 0.01, 500), (5, 0.003, 500), (2, 0.03, 500), (3, 0.03, 1000)):
        what = f"{seeds} seeds, spread {100 * spread:g} points, {objects} objects"
        yield what, partial(coverage, Truth(apart, objects, seeds, spread))
    for seeds in (1, 2, 3):
        for spread in (0.01, 0.03):
            what = f"4 equal depths, {seeds} seed{'s' * (seeds > 1)}, spread {100 * spread:g} points"
            yield what, partial(false_alarms, Truth((EQUAL,), 1000, seeds, spread))
    yield "10 equal depths, 2 seeds, spread 1 point", partial(false_alarms, Truth(((0.8,) * 10,), 1000, 2, 0.01))
    yield "2 equal depths, 2 seeds, spread 3 points", partial(false_alarms, Truth(((0.8,) * 2,), 1000, 2, 0.03))
    yield "2 equal depths, 3 seeds, spread 3 points", partial(false_alarms, Truth(((0.8,) * 2,), 1000, 3, 0.03))
    yield "two networks, one best depth, unequal gains", partial(own_depths, Truth(SAME_BEST, 2000, 3, 0.005))
    yield "two networks, best at other depths", partial(own_depths, Truth(((0.8, 0.7), (0.7, 0.8)), 2000, 3, 0.005))
    yield "four equal networks", partial(mobile, Truth(((0.78, 0.8),) * 4, 1000, 3, 0.01))
    for seeds, spread, depths in ((3, 0.0, 4), (3, 0.01, 4), (3, 0.02, 4), (5, 0.01, 2)):
        what = f"{depths} depths, {seeds} seeds, spread {100 * spread:g} points"
        yield what, partial(power, Truth(((0.78, *(0.8,) * (depths - 1)),), 500, seeds, spread))
    for objects in (1000, 3000):
        for depths in (4, 10):
            yield f"{depths} depths, {objects} objects", partial(recommendation, shapes(depths, objects))
        yield f"just beyond the margin, {objects} objects", partial(recommendation, beyond_the_margin(objects))
    yield from race_lines()


def race_lines() -> Iterator[Line]:
    """The race of depths: where the best is hardly better than the others, where curves are as of real cutouts, and
    where many settings are poor.
    """
    for seeds in (3, 5):
        for spread, of_best in ((0.03, None), (0.004, 0.03), (0.01, None)):
            alike = Truth(((0.8,) * 6 + (0.8 + 1e-6,),), 600, seeds, spread, of_best)
            what = f"spread {100 * spread:g} points" + (f", of the best {100 * of_best:g}" if of_best else "")
            yield f"race: 7 depths alike, {seeds} seeds, {what}", partial(race, alike)
        yield f"race: 7 depths, {seeds} seeds, 600 objects", partial(race, Truth((REAL,), 600, seeds))
        rates = Truth((REAL + POOR,), 600, seeds)
        yield f"race: 14 settings, half of them poor, {seeds} seeds, 600 objects", partial(race, rates)


def study(one: Callable[[np.random.Generator], Found], number: int) -> Found:
    return one(np.random.default_rng([20, number]))


def table_row(found: Sequence[Found]) -> dict[str, tuple[float, float, int]]:
    """Of each column the mean, its Monte-Carlo error (studies are independent), and in how many studies it is."""
    row = {}
    for name in dict.fromkeys(name for each in found for name in each):
        some = [float(np.mean(each[name])) for each in found if each.get(name)]
        if some:
            row[name] = (float(np.mean(some)), float(np.std(some) / np.sqrt(len(some))), len(some))
    return row


def lines_of(what: str, studies: int) -> list[TrustLine]:
    """The lines of the calibration error or of the law of more images."""
    return ece_lines(studies) if what == "ece" else law_lines(studies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    start = time.perf_counter()
    with ProcessPoolExecutor(args.processes) as pool:
        for what, one in lines():
            if args.only in what:
                found = list(pool.map(partial(study, one), range(args.studies), chunksize=10))
                cells = [f"{n}: {100 * m:.1f} ± {100 * e:.1f} % of {c}" for n, (m, e, c) in table_row(found).items()]
                print(f"{what} | {' | '.join(cells)}", flush=True)
        more = pool.map(lines_of, ("ece", "law"), [args.studies] * 2) if not args.only else ()
        for several in more:
            print(*several, sep="\n", flush=True)
    print(f"{args.studies} studies a line, {(time.perf_counter() - start) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
