"""How the settings of a search did in one round, and which of them go on. No torch.

All are scored on the same validation objects, in the same draws of whole groups of the sky, so what they share cancels.
A setting goes on unless it is surely worse than the best, by more than the chances that the draws do not hold: that its
curve is still to rise after a trial, or that another seed would have been luckier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float

from skythaw.errors import LedgerError
from skythaw.stats.bootstrap import Bootstrap
from skythaw.stats.cell_predictions import predictions_path
from skythaw.stats.intervals import limits
from skythaw.stats.scored_sample import read_sample
from skythaw.stats.surely_worse import surely_worse
from skythaw.study.open_study import OpenStudy

SearchRound = Literal["trial", "first seed", "all seeds"]
ROUNDS: tuple[SearchRound, ...] = ("trial", "first seed", "all seeds")

LEVEL = 0.95
"""confidence of the intervals"""
CHANCE = 0.9
"""Training has begun where the log loss is below this share of the least that one guess for all objects can have."""
MARGIN: dict[SearchRound, float] = {"trial": 0.03, "first seed": 0.02, "all seeds": 0.0}
"""Macro-F1 by which a setting must surely be behind the best. After a trial curves still rise, by 0.01 to 0.03, and not
all by the same (docs/decisions/0026). Two networks that differ by their seed alone differ by about 0.014
(standard deviation; 0.01 of each). In the last round the rule of the report decides; its entry stays, because the
folders of searches that were begun have it."""
DRAWS = 1000
LARGEST_LOSS = -math.log(1e-7)
"""of one object: one whose class got a smaller probability counts as if it had got 1e-7"""


@dataclass(frozen=True)
class Standing:
    """How one setting did in one round."""

    backbone: str
    """with its weights, where the study names them"""
    strategy: str
    train_size: int
    setting: str
    """what distinguishes it from the others: its depth, and further axes"""
    depth: int
    round: SearchRound
    rung: int
    """the number of the round, from 0"""
    images: int
    """that it was trained on"""
    seeds: int
    log_loss: float | None
    """on validation, every class of the same weight, mean over seeds; None where a cell failed"""
    macro_f1: float | None
    """on validation, mean over seeds"""
    behind: tuple[float, float] | None
    """interval of how much larger its log loss is than that of the best of the round"""
    behind_f1: tuple[float, float] | None
    """interval of how much smaller its macro-F1 is than that of the best of the round"""
    fate: str
    """``goes on``, ``worse in the trial``, ``worse with the first seed``, ``failed``; of the last round ``best on
    validation``, ``as good as can be told``, or ``worse with all seeds``"""


@dataclass(frozen=True)
class RoundScores:
    """Scores of the settings of one round on validation, means over seeds, in every draw of the sky.

    Draw 0 is the sample itself.
    """

    log_loss: Float[np.ndarray, "setting draw"]
    """every class of the same weight"""
    macro_f1: Float[np.ndarray, "setting draw"]
    by_seed: list[Float[np.ndarray, "seed draw"]]
    """macro-F1 of each setting"""
    classes: int
    """that the objects have"""

    @classmethod
    def read(cls, run: OpenStudy, keys: Sequence[Sequence[str]]) -> RoundScores:
        """Score cells by the predictions that they left; `keys` has those of each setting: see `read_draws`."""
        bootstrap = read_draws(run, keys)
        sample = bootstrap.sample
        losses = [np.mean([np.minimum(sample.loss[key], LARGEST_LOSS) for key in some], axis=0) for some in keys]
        by_seed = [bootstrap.scores(some)["macro_f1"] for some in keys]
        scores = np.stack([each.mean(0) for each in by_seed])
        return cls(bootstrap.balanced_log_loss(losses), scores, by_seed, len(np.unique(sample.true)))

    @cached_property
    def learned(self) -> np.ndarray:
        """Which settings beat chance, bool [setting]. One guess for all has at least the logarithm of the classes."""
        return np.asarray(self.log_loss[:, 0] < CHANCE * math.log(self.classes))

    def best(self, stage: SearchRound) -> int:
        """The place of the best by macro-F1; of trials by log loss, which tells more of a half-trained network."""
        return int(self.log_loss[:, 0].argmin() if stage == "trial" else self.macro_f1[:, 0].argmax())

    def behind(self, best: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """Of each setting, the intervals of how far its log loss and its macro-F1 are behind those of one of them."""
        losses, scores = self.log_loss - self.log_loss[best], self.macro_f1[best] - self.macro_f1
        return [(limits(loss, LEVEL), limits(score, LEVEL)) for loss, score in zip(losses, scores, strict=True)]


def read_draws(run: OpenStudy, keys: Sequence[Sequence[str]]) -> Bootstrap:
    """The predictions of some cells on validation, in draws of the sky; `keys` has those of each setting.

    Raises
    ------
    LedgerError
        Predictions are gone or damaged.
    """
    every = [key for some in keys for key in some]
    sample = read_sample(run.setting.out, "validation", run.plan.classes, every)
    if sample is None or sample.missing:
        gone = predictions_path(run.setting.out, sample.missing[0] if sample else every[0])
        raise LedgerError(f"can't read the predictions {gone}: give the study a new folder")
    return Bootstrap(sample, DRAWS)


def fates(scores: RoundScores, stage: SearchRound, spared: Sequence[bool]) -> list[str]:
    """What becomes of each setting of a round.

    Parameters
    ----------
    scores
        of all of them
    stage
        which round it was
    spared
        which of them may not be called worse, whatever they scored
    """
    best = scores.best(stage)
    if stage == "all seeds":
        beaten = surely_worse(scores.by_seed, [not each for each in spared], looks=1)
        fate = ["worse with all seeds" if each else "as good as can be told" for each in beaten]
        fate[best] = "best on validation"
        return fate
    worse_in = {"trial": "worse in the trial", "first seed": "worse with the first seed"}[stage]
    fate = ["goes on"] * len(spared)
    for i, (loss, score) in enumerate(scores.behind(best)):
        worse = score[0] > MARGIN[stage]
        if stage == "trial":  # one that learns late is at chance in it; the best has the smallest loss, so has learned
            worse = worse and loss[0] > 0 and bool(scores.learned[i])
        if worse and not spared[i]:
            fate[i] = worse_in
    return fate
