"""Training objects in folds, so that each can be judged by a model that has not seen it. No torch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

Fold = tuple[Int[np.ndarray, " rest"], Int[np.ndarray, " fold"]]
"""places of the objects to learn from, and of those to judge"""


def folds_of(targets: Int[np.ndarray, " object"], groups: Int[np.ndarray, " object"], count: int) -> list[Fold] | None:
    """Divide objects into folds, stratified by class; those of one group of the sky stay together.

    None where a class is in too few groups to be divided, or would be missing where a model learns.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    classes = np.unique(targets)
    if min(len(set(groups[targets == each])) for each in classes) < count:
        return None
    folds = list(StratifiedGroupKFold(count, shuffle=True, random_state=0).split(targets, targets, groups))
    return folds if all(len(np.unique(targets[rest])) == len(classes) for rest, _ in folds) else None
