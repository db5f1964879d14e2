"""The statistics of a report, from the predictions that a run folder holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skythaw.report.number_format import listed
from skythaw.report.recommendations import speaks_first
from skythaw.report.statistics.candidate import Candidate
from skythaw.report.statistics.claims import claims
from skythaw.report.statistics.depth_comparison import comparison
from skythaw.report.statistics.depth_contest import Contest
from skythaw.report.statistics.failures import errors_by_column, mistakes
from skythaw.report.statistics.network_contest import ContestedNetwork
from skythaw.report.statistics.report_rows import CONTEST, NAMES, Finished, ReportRow, ScoredRows, rows_by_rate
from skythaw.report.statistics.robustness import early_signs, other_choices
from skythaw.report.statistics.size_law import size_curve
from skythaw.spec import IMAGES
from skythaw.stats.bootstrap import DRAWS, Bootstrap, Scores
from skythaw.stats.calibration import calibration
from skythaw.stats.cell_predictions import OUT_OF_FOLD
from skythaw.stats.intervals import LEVEL
from skythaw.stats.scored_sample import Sample, read_sample
from skythaw.study.convergence import together

Key = tuple[Any, ...]
"""Network, strategy, training size and inputs."""


@dataclass(frozen=True)
class TriedDepths:
    """The depths of one contest."""

    planned: frozenset[int] = frozenset()
    """all that the study names"""
    dropped: frozenset[int] = frozenset()
    """those that a search trained no further"""


@dataclass(frozen=True)
class Evidence:
    """Scores in draws, and the depths of each network against each other."""

    finished: list[Finished]
    axes: tuple[str, ...]
    bootstrap: Bootstrap
    validation: Sample | None
    scored: ScoredRows
    contests: dict[Key, Contest]
    chosen: dict[Key, dict[int, ReportRow]]
    """the row of each depth: of several that differ in a further axis, the best on validation"""

    @property
    def sample(self) -> Sample:
        return self.bootstrap.sample

    def named(self, key: Key) -> dict[str, Any]:
        """A contest by the names of what it is within; the network's beside its backbone and its weights."""
        setting = next(iter(self.chosen[key].values())).setting
        return {name: setting[name] for name in (*NAMES, *CONTEST)}

    def method(self) -> dict[str, Any]:
        """How intervals were made."""
        sample = self.sample
        return {
            "level": LEVEL,
            "interval": "percentile",
            "difference": "student",
            "draws": DRAWS,
            "drawn": "groups of the split" if sample.grouped else "objects",
            "single": sample.single,
            "objects": len(sample),
            "groups": int(sample.group.max()) + 1,
            "missing": len(sample.missing),
        }

    def comparisons(self) -> list[dict[str, Any]]:
        """Each contest in numbers: see `comparison`; with `robust`, `early_signs` and `calibration`."""
        return [
            {
                **self.named(key),
                **comparison(contest),
                "robust": {**other_choices(contest), "lr": self._by_rate(key, contest)},
                "early_signs": self._early_signs(key, contest),
                "calibration": self._calibration(contest),
            }
            for key, contest in self.contests.items()
        ]

    def size_curves(self) -> list[dict[str, Any]]:
        """What `size_curve` says of each backbone and strategy with several training sizes, at recommended depths."""
        found = []
        for line in dict.fromkeys((*key[:2], key[3]) for key in self.contests):
            some = sorted((key[2], c) for key, c in self.contests.items() if (*key[:2], key[3]) == line)
            most = max(len(contest.decided) for _, contest in some)
            some = [(size, contest) for size, contest in some if len(contest.decided) == most]
            if len(some) > 1:
                draws = np.stack([contest.draws(contest.recommended) for _, contest in some])
                seeds = min(len(contest.recommended.keys) for _, contest in some)
                curve = size_curve([size for size, _ in some], draws, seeds)
                if unfinished := [size for size, contest in some if contest.recommended.not_converged]:
                    curve = {"sizes": curve["sizes"], "why": f"with {listed(unfinished)} images it has not converged"}
                key = next(key for key in self.contests if (*key[:2], key[3]) == line)
                names = {name: each for name, each in self.named(key).items() if name != "train_size"}
                found.append({**names, **curve})
        return found

    def claims(self, rows: Sequence[dict[str, Any]], inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The seed study's claims; networks with the largest training size of all and the study's first strategy.

        `inputs` says what images, numbers and both gave.
        """
        by_keys = {tuple(each["keys"]): each for each in rows}
        networks = []
        best = self.best(self.main())
        for key in sorted([best, *self.rivals(best)], key=self.main().index):
            found = {depth: by_keys[row.keys] for depth, row in self.chosen[key].items()}
            names = self.named(key)
            if any(entry.cell.weights.random for row in self.chosen[key].values() for entry, _ in row.cells):
                names |= {"weights": "random"}
            networks.append(ContestedNetwork(names, self.contests[key], found))
        return claims(networks, inputs)

    def failures(self) -> dict[str, Any]:
        """Where the network of the answer fails, at its recommended depth."""
        key = self.best(self.main())
        candidate = self._recommended(key)
        keys, validation = candidate.keys, self.validation
        known = validation is not None and set(keys) <= set(validation.said)
        return {
            **self.named(key),
            "depth": candidate.depth,
            "columns": errors_by_column(candidate.keys, self.bootstrap),
            **mistakes([self.sample.log_probabilities(each) for each in keys], self.sample),
            "validation": mistakes([validation.log_probabilities(each) for each in keys], validation)
            if validation and known
            else None,
            "training": self._training_labels(key),
        }

    def _training_labels(self, key: Key) -> dict[str, Any] | None:
        """What frozen networks say of the labels of training objects that they have not seen, of the first seed."""
        frozen = self.chosen[key].get(0)
        first = frozen.keys[0] if frozen else None
        sample = first and read_sample(self.sample.run, OUT_OF_FOLD, self.sample.classes, [first])
        return mistakes([sample.log_probabilities(first)], sample) if sample and first else None

    def main(self) -> list[Key]:
        """For each network, the contest that speaks for it.

        That with the most training images, of the study's first strategy, on images alone; one in which depths can be
        compared, if there is any.
        """
        first = next(iter(self.contests))[1]
        ranks = {key: (key[3] == IMAGES, key[1] == first, len(c.whole) > 1, key[2]) for key, c in self.contests.items()}
        names = dict.fromkeys(key[0] for key in self.contests)
        return [max((key for key in ranks if key[0] == name), key=lambda key: ranks[key]) for name in names]

    def best(self, keys: Iterable[Key]) -> Key:
        """Of several contests, that which speaks for the study: see `speaks_first`."""
        rows = {key: self.chosen[key][self._recommended(key).depth] for key in keys}
        return max(rows, key=lambda key: speaks_first(len(rows[key].cells), key[2], rows[key].validation))

    def rivals(self, chosen: Key) -> list[Key]:
        """The contests of the other networks that are fit to be compared: they have as many training images."""
        return [key for key in self.main() if key != chosen and key[1:] == chosen[1:]]

    def _recommended(self, key: Key) -> Candidate:
        return self.contests[key].recommended

    def _by_rate(self, key: Key, contest: Contest) -> dict[str, int]:
        """The depth that each learning rate alone would recommend; empty where there is one rate."""
        rates: dict[Any, list[ReportRow]] = defaultdict(list)
        for some in rows_by_rate(self.finished, self.axes):
            for rate, row in some.items():
                if row.contest == key and set(row.keys) <= set(self.sample.said):
                    rates[rate].append(row)
        found = {}
        for rate, tried in rates.items() if len(rates) > 1 else ():
            candidates = [_candidate(row, self.bootstrap.scores(row.keys)) for row in _by_depth(tried).values()]
            alone = contest.again(candidates)
            if (alone.seeds, len(alone.whole)) == (contest.seeds, len(contest.whole)):  # else it is not finished
                found[str(rate)] = alone.recommended.depth
        return found

    def _early_signs(self, key: Key, contest: Contest) -> dict[str, Any]:
        scores = [each.mean("macro_f1") for each in contest.whole]
        results = [self.chosen[key][each.depth].results for each in contest.whole]
        return early_signs([each.depth for each in contest.whole], scores, results)

    def _calibration(self, contest: Contest) -> dict[str, Any] | None:
        keys = contest.recommended.keys
        if self.validation is None or not set(keys) <= set(self.validation.said):
            return None
        return calibration(keys, self.validation, self.bootstrap)


def gather(  # noqa: PLR0913, PLR0917 (what a run folder holds, each for itself)
    run: Path,
    finished: list[Finished],
    every: list[ReportRow],
    margin: float,
    numbers: Sequence[ReportRow] = (),
    stopped: Collection[str] = (),
    tried: Mapping[Key, TriedDepths] | None = None,
) -> Evidence | None:
    """Read the predictions of a run and compare its depths; None where there are no predictions.

    Parameters
    ----------
    run
        the run folder
    finished
        its scored cells
    every
        the rows of the report, made of them
    margin
        score that a shallower depth may lose
    numbers
        the rows without a network, which are scored on the same objects
    stopped
        keys of cells of depths that a race gave no further seeds
    tried
        by contest, all depths of the study, and those that a search dropped
    """
    keys = [result.key for _, result in finished] + [key for row in numbers for key in row.keys]
    sample = read_sample(run, "test", finished[0][1].classes, keys)
    if sample is None:
        return None
    bootstrap = Bootstrap(sample)
    scored = ScoredRows([*every, *numbers], bootstrap)
    of_contest: dict[Key, list[ReportRow]] = defaultdict(list)
    for row in every:
        if row in scored:
            of_contest[row.contest].append(row)
    if not of_contest:
        return None
    chosen = {key: _by_depth(some) for key, some in of_contest.items()}
    contests = {
        key: Contest(
            [_candidate(row, scored.scores(row), stopped) for row in some.values()],
            sample,
            margin,
            planned=(tried or {}).get(key, TriedDepths()).planned,
            dropped=(tried or {}).get(key, TriedDepths()).dropped,
        )
        for key, some in chosen.items()
    }
    wanted = [key for contest in contests.values() for key in contest.recommended.keys]
    validation = read_sample(run, "validation", sample.classes, wanted)
    return Evidence(finished, every[0].axes, bootstrap, validation, scored, contests, chosen)


def _candidate(row: ReportRow, scores: Scores, stopped: Collection[str] = ()) -> Candidate:
    out = any(key in stopped for key in row.keys)
    results = tuple(row.results)
    return Candidate(row.depth, row.seeds, row.keys, scores, row.validation, together(results), results, out)


def _by_depth(some: Sequence[ReportRow]) -> dict[int, ReportRow]:
    """The row of each depth, the shallowest first; on a tie the first."""
    found: dict[int, ReportRow] = {}
    for row in sorted(some, key=lambda each: each.depth):
        before = found.get(row.depth)
        if before is None or (len(row.cells), row.validation) > (len(before.cells), before.validation):
            found[row.depth] = row
    return found
