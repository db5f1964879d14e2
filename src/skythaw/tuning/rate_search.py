"""``lr = "auto"``: a short, seeded search for the learning rate, on validation, for each cell its own.

Depth and learning rate are confounded: the rate that suits a head may wreck a whole network. A study that gives every
depth one rate compares rates, not depths.
"""

from __future__ import annotations

import math

from skythaw.spec import AUTO_RATES, Recipe, trial_epochs
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.thawed_network import ThawedNetwork
from skythaw.tuning.training_loop import fit, restore


def settle_rate(
    model: ThawedNetwork, training: LabelledImages, validation: LabelledImages, recipe: Recipe, seed: int
) -> tuple[Recipe, list[dict[str, float | None]]]:
    """Settle the learning rate of a recipe.

    Each of `skythaw.spec.AUTO_RATES` trains the model for `trial_epochs` from the same start; the one with the best
    validation score is taken, the smaller one on a tie. The model is left as it came.

    Returns
    -------
    recipe
        with ``lr`` a number
    trials
        ``lr`` and ``score`` of each rate tried; empty if the rate was given
    """
    if recipe.lr != "auto":
        return recipe, []
    start = {name: tensor.clone() for name, tensor in model.trained().items()}
    trials: list[dict[str, float | None]] = []
    best, best_score = AUTO_RATES[0], -math.inf
    for rate in AUTO_RATES:
        trial = recipe.model_copy(update={"lr": rate, "epochs": trial_epochs(recipe)})
        score = fit(model, training, validation, trial, seed).score
        trials.append({"lr": rate, "score": score if math.isfinite(score) else None})
        if score > best_score:
            best, best_score = rate, score
        restore(model, start)
    return recipe.model_copy(update={"lr": best}), trials
