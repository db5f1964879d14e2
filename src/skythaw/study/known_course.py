"""How long a finished cell trained: to train it again on more images, or on fewer. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from skythaw.errors import DataError
from skythaw.spec import Cell
from skythaw.study.cell_result import Result
from skythaw.tuning.training_pace import falling_steps, steps_an_epoch


@dataclass(frozen=True)
class Course:
    """How long to train a cell again."""

    steps: int
    fall_from: int | None
    """of a training as long as its curve demanded: the step from which the rate falls"""


def known_course(cell: Cell, result: Result, images: int) -> Course:
    """As many passes over so many images as the cell made over fewer.

    Weights that were kept before the rate fell were chosen by validation among many. Nothing chooses here, so the rate
    falls from there, and the weights settle (docs/log.md has what that gains).

    Raises
    ------
    DataError
        The cell diverged before its first score.
    """
    recipe = cell.recipe
    if recipe.epochs != "auto":
        return Course(steps_an_epoch(recipe, images) * round(result.peak_epoch or recipe.epochs), None)
    if not (result.course_steps or result.curves):
        raise DataError("its training diverged before validation was scored, so that it can't be done again")
    more = images / cell.train_size
    last = result.course_steps or result.curves[-1]["step"]
    if result.fall_from is None:
        level = max(1, round(more * last))
        return Course(level + falling_steps(level), level)
    return Course(round(more * last), round(more * result.fall_from))
