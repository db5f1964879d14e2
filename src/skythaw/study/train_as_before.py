"""Train a finished cell again as it was, on more images or on fewer, without validation to say when to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skythaw.spec import Cell
from skythaw.study.cell_result import Result
from skythaw.study.known_course import known_course
from skythaw.tuning.frozen_head import TRAINED, solve_again, starting_head
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.linear_probe import start_from
from skythaw.tuning.thawed_network import ThawedNetwork
from skythaw.tuning.training_loop import refit

Steps = Callable[[Iterable[int], int], Iterable[int]]
"""Passes the steps through, of which there are so many, and shows how far they are."""


def train_as_before(
    model: ThawedNetwork,
    cell: Cell,
    result: Result,
    images: LabelledImages,
    start: tuple[LabelledImages, LabelledImages],
    progress: Steps = lambda steps, number: steps,
) -> None:
    """Train a network, as it was assembled, on some images.

    Recipe, seed, strategy and learning rate are those of the cell. Training ends where the cell's kept weights were, in
    the same course, after as many passes over the images; where they were from before the rate fell, it falls from
    there (`skythaw.study.known_course`). A solved head that was kept is solved again with the same
    strength.

    Parameters
    ----------
    model
        changed in place
    cell, result
        what was run, and its result
    images
        what it learns from
    start
        where the strategy starts from a solved head: the images on which it is solved, and those that choose it
    progress
        called with the steps and their number

    Raises
    ------
    DataError
        Training diverges.
    """
    recipe = cell.recipe.model_copy(update={"lr": result.lr})
    if result.head != TRAINED:
        strength = (result.probe or {})["kept_strength"]
        start_from(model, solve_again(model, result.head, strength, images, recipe))
        return
    if model.thaw.head == "solved":
        start_from(model, starting_head(model, *start, recipe))
    course = known_course(cell, result, len(images))
    refit(model, images, recipe, cell.seed, progress(range(course.steps), course.steps), course.fall_from)
