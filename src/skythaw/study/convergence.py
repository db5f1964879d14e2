"""Is a cell's training finished? A comparison is between networks that are. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from skythaw.study.cell_result import Result
from skythaw.tuning.training_pace import best_at_the_end


def not_converged(result: Result) -> tuple[str, ...]:
    """Why a cell's training can't be called finished, each in a few words; empty where it can.

    Results of older versions do not say; of them, the curve is asked.
    """
    if result.not_converged is not None:
        return result.not_converged
    return best_at_the_end(len(result.curves), round(result.peak_epoch))


def together(results: Sequence[Result]) -> tuple[str, ...]:
    """The reasons of several seeds of one setting, each once."""
    return tuple(dict.fromkeys(reason for result in results for reason in not_converged(result)))
