"""What chance decides in an epoch of training: the order of the images, and the view and shift of each. No torch.

It follows from seed, epoch, and number of images alone, so it is known beforehand which images a cell will see in which
views: `skythaw.tuning.frozen.reuse_plan` counts on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skythaw.spec import Recipe


@dataclass(frozen=True)
class Draw:
    """One epoch."""

    order: np.ndarray
    """int [object]"""
    views: np.ndarray
    """int [object], of `skythaw.data.views`"""
    shifts: np.ndarray | None
    """int [object, (dy, dx)], pixels of the cutout; None without shifts"""


def draw(objects: int, recipe: Recipe, seed: int, epoch: int) -> Draw:
    """Draw an epoch, counted from 1, of a training set of so many objects."""
    rng = np.random.default_rng([seed, 1, epoch])
    return Draw(
        order=rng.permutation(objects),
        views=rng.integers(recipe.views, size=objects),
        shifts=rng.integers(-recipe.shift, recipe.shift + 1, size=(objects, 2)) if recipe.shift else None,
    )
