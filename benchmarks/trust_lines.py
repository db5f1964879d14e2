"""Do calibration errors and laws of more images hold what their intervals promise? Simulated worlds of known truth.

    python benchmarks/trust_lines.py [STUDIES]

Each line is a world of which STUDIES (500) studies are made; it says how often the interval covers the truth.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from skythaw.report.statistics.size_law import size_curve
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.calibration import BINS, reliability
from skythaw.stats.intervals import mean_draws, spread_within
from skythaw.stats.scored_sample import Sample

CLASSES = ("A", "B", "C")
TOGETHER = 5
"""objects of a group of the sky"""


@dataclass(frozen=True)
class TrustLine:
    """How often something held in simulated studies."""

    what: str
    share: float
    studies: int
    note: str = ""

    @property
    def error(self) -> float:
        """Monte-Carlo error of the share: a standard deviation, of at least one study in all."""
        share = np.clip(self.share, 1 / self.studies, 1 - 1 / self.studies)
        return float(np.sqrt(share * (1 - share) / self.studies))

    def __str__(self) -> str:
        return f"{self.what:<78} {100 * self.share:5.1f} ± {100 * self.error:.1f} %  {self.note}"


@dataclass(frozen=True)
class CalibrationWorld:
    """A network, and how wrong its probabilities are."""

    name: str
    sharpness: float
    """spread of its logits"""
    temperature: float = 1.0
    """at which its probabilities would be true"""
    sky: float = 0.0
    """spread of what the groups of the sky add to the true logits"""
    blind: tuple[float, float] | None = None
    """between these top probabilities it guesses"""

    def draw(self, objects: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-probabilities, true classes and groups of some objects."""
        logits = self.sharpness * rng.normal(size=(objects, len(CLASSES)))
        group = np.arange(objects) // TOGETHER
        of_sky = self.sky * rng.normal(size=(group[-1] + 1, len(CLASSES)))
        honest = softmax(logits / self.temperature + of_sky[group], axis=1)
        if self.blind:
            top = softmax(logits, axis=1).max(1)
            honest[(top > self.blind[0]) & (top < self.blind[1])] = 1 / len(CLASSES)
        true = (honest.cumsum(1) < rng.random((objects, 1))).sum(1).clip(0, len(CLASSES) - 1)
        return log_softmax(logits, axis=1), true, group

    def truth(self) -> float:
        """The expected calibration error of endlessly many objects."""
        if (self.temperature, self.sky, self.blind) == (1.0, 0.0, None):
            return 0.0
        off, objects, rng = np.zeros(BINS), 400_000, np.random.default_rng(9)
        for _ in range(5):
            log_p, true, _ = self.draw(objects, rng)
            top = np.exp(log_p.max(1))
            which = np.minimum((top * BINS).astype(int), BINS - 1)
            off += np.bincount(which, (log_p.argmax(1) == true) - top, BINS) / objects / 5
        return float(np.abs(off).sum())


PERFECT = CalibrationWorld("perfect", 1.5)
CALIBRATION = (
    *((PERFECT, objects) for objects in (200, 1000, 3000)),
    (CalibrationWorld("perfect and very sure", 8.0), 1000),
    (CalibrationWorld("a little too sure", 3.0, 1.1), 1000),
    (CalibrationWorld("too sure", 8.0, 1.5), 1000),
    (CalibrationWorld("not sure enough", 3.0, 0.7), 1000),
    (CalibrationWorld("wrong in one bin", 3.0, blind=(0.6, 0.7)), 3000),
    (CalibrationWorld("the sky matters", 3.0, sky=0.7), 3000),
)


def ece_lines(studies: int = 500) -> list[TrustLine]:
    """How often the interval of the expected calibration error covers the truth."""
    return [ece_line(world, objects, studies) for world, objects in CALIBRATION]


def ece_line(world: CalibrationWorld, objects: int, studies: int, draws: int = 1000) -> TrustLine:
    """One world."""
    truth, found = world.truth(), []
    for study in range(studies):
        log_p, true, group = world.draw(objects, np.random.default_rng(study))
        bootstrap = Bootstrap(_sample(true, group), draws, study)
        found.append(reliability([log_p], bootstrap))
    estimates = [each["ece"] for each in found]
    covers = np.mean([each["low"] <= truth <= each["high"] for each in estimates])
    mean, high = (np.mean([each[name] for each in estimates]) for name in ("mean", "high"))
    plain = np.mean([each["ece_plain"] for each in found])
    note = f"truth {truth:.3f}, mean estimate {mean:.3f}, upper end {high:.3f}, plain {plain:.3f}"
    return TrustLine(f"the interval of the ECE covers: {world.name}, {objects:,} objects", float(covers), studies, note)


@dataclass(frozen=True)
class LawWorld:
    """How the error falls with the number of images: ``floor + b * images ** -exponent``."""

    floor: float
    b: float
    exponent: float
    sizes: tuple[int, ...]
    seeds: int = 3
    of_sky: float = 0.012
    """spread of a score from test set to test set; half of its variance is the same for all sizes"""
    of_seeds: float = 0.01

    def error(self, images: float) -> float:
        return self.floor + self.b * images**-self.exponent

    def study(self, rng: np.random.Generator, draws: int = 500) -> dict[str, Any]:
        """What a report says of one study; the spread of seeds is known from three depths."""
        count = len(self.sizes)
        root = np.linalg.cholesky(self.of_sky**2 * (np.ones((count, count)) + np.eye(count)) / 2)
        sky, drawn = root @ rng.normal(size=count), root @ rng.normal(size=(count, draws))
        means = []
        for i, size in enumerate(self.sizes):
            score = 1 - self.error(size) + sky[i] + np.concatenate([[0.0], drawn[i]])
            depths = [score + self.of_seeds * rng.normal(size=(self.seeds, 1)) for _ in range(3)]
            means.append(mean_draws(depths[0], spread_within(depths), i))
        return size_curve(list(self.sizes), np.stack(means), self.seeds)

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.sizes))
        return f"{self.floor:g} + {self.b:g} n^-{self.exponent:g}, {sizes} images, {self.seeds} seeds"


LAWS = (
    LawWorld(0.15, 5.0, 0.6, (300, 600, 1500)),
    LawWorld(0.15, 5.0, 0.6, (300, 1000, 3000)),
    LawWorld(0.15, 5.0, 0.6, (300, 600, 1500), seeds=2),
    LawWorld(0.15, 5.0, 0.6, (250, 500, 1000, 2000, 4000)),
    LawWorld(0.0, 0.8, 0.2, (300, 1000, 3000)),
    LawWorld(0.05, 3.0, 0.5, (100, 400, 1600, 6400)),
    LawWorld(0.2, 0.0, 0.5, (300, 1000, 3000)),
)


def law_lines(studies: int = 500) -> list[TrustLine]:
    """How often the interval of the gain by twice the images covers the truth."""
    return [law_line(world, studies) for world in LAWS]


def law_line(world: LawWorld, studies: int) -> TrustLine:
    """One world: of the studies for which a law is given, how many cover."""
    last = world.sizes[-1]
    truth = world.error(last) - world.error(2 * last)
    found = [world.study(np.random.default_rng(study)) for study in range(studies)]
    gains = [each["gain"] for each in found if "why" not in each]
    covers = np.mean([each["low"] - 1e-9 <= truth <= each["high"] + 1e-9 for each in gains])
    mean, low, high = (100 * np.mean([each[name] for each in gains]) for name in ("mean", "low", "high"))
    given = f"given in {100 * len(gains) / studies:.0f} %"
    note = f"{given}; gain in points: truth {100 * truth:.1f}, mean estimate {mean:.1f} ({low:.1f} to {high:.1f})"
    return TrustLine(f"the interval of the gain covers: {world}", float(covers), len(gains), note)


def _sample(true: np.ndarray, group: np.ndarray) -> Sample:
    return Sample(
        run=Path(),
        part="test",
        classes=CLASSES,
        ids=(),
        true=true,
        group=group,
        grouped=True,
        numbers={},
        said={},
        loss={},
        missing=(),
    )


if __name__ == "__main__":
    for lines in (ece_lines, law_lines):
        for line in lines(int(sys.argv[1]) if len(sys.argv) > 1 else 500):
            print(line, flush=True)
