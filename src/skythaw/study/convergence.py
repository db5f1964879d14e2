"""Is a cell's training finished? A comparison is between networks that are. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from skythaw.study.cell_result import Result
from skythaw.tuning.training_pace import best_at_the_end, still_falling

SOLVED_BETTER = 0.01
"""Macro-F1 by which a solved head must be better than a trained one before that one counts as half trained."""


def not_converged(result: Result) -> tuple[str, ...]:
    """Why a cell's training can't be called finished, each in a few words; empty where it can.

    Results of older versions do not say; of them, the curve is asked.
    """
    if result.not_converged is not None:
        return result.not_converged
    short = best_at_the_end(len(result.curves), round(result.peak_epoch)) or still_falling(
        [each["log_loss"] for each in result.curves if "log_loss" in each]
    )
    return (*short, *_behind_the_solved_head(result))


def _behind_the_solved_head(result: Result) -> tuple[str, ...]:
    """The reason that the head of a frozen network was not trained to its best: one solved exactly does better."""
    if result.probe is None:
        return ()
    solved, trained = (each["validation"]["macro_f1"] for each in (result.probe["scores"], result.scores))
    if solved <= trained + SOLVED_BETTER:
        return ()
    return (f"a head that is solved exactly has macro-F1 {solved:.3f} on validation, this one {trained:.3f}",)


def together(results: Sequence[Result]) -> tuple[str, ...]:
    """The reasons of several seeds of one setting, each once."""
    return tuple(dict.fromkeys(reason for result in results for reason in not_converged(result)))
