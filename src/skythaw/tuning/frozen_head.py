"""The best frozen network: at depth 0, the best of several heads on the same features.

A head trained for some steps is one of them. The others are solved exactly, on the images as they are and on all views
of them. Validation chooses. What deeper tuning gains is told from the best, and not from a head that was left half
trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from skythaw.spec import Recipe
from skythaw.tuning.folds import folds_of
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.linear_probe import STRENGTHS, LinearProbe, pooled, pooled_views, solve
from skythaw.tuning.thawed_network import ThawedNetwork

FOLDS = 5
FAR = 3.0
"""standard deviations"""
JUDGE = 1e-3
"""strength of the heads that judge labels"""
TRAINED, SOLVED, SOLVED_ON_VIEWS = "trained", "solved", "solved on all views"
RESTRAINED = tuple(strength for strength in STRENGTHS if strength <= 1)
"""Strengths of a head that training starts from: one fitted with less restraint is so steep that the first steps below
it wreck the features."""


@dataclass(frozen=True)
class SolvedHeads:
    """The exactly solved heads on the features of a network as it stands."""

    plain: LinearProbe
    on_views: LinearProbe | None
    """None where one view is used"""
    features: dict[str, Float[np.ndarray, "object feature"]] = field(default_factory=dict, repr=False)
    """of the images as they are, in ``train`` and ``validation``"""

    def better_than(self, score: float) -> tuple[str, LinearProbe] | None:
        """The best of them by validation, with its name, if it beats this validation score."""
        found = [(SOLVED, self.plain)]
        if self.on_views is not None:
            found.append((SOLVED_ON_VIEWS, self.on_views))
        best = max(found, key=lambda each: each[1].score)
        return best if best[1].score > score else None


def solved_heads(
    model: ThawedNetwork, training: LabelledImages, validation: LabelledImages, recipe: Recipe
) -> SolvedHeads:
    """Solve the head on the images as they are, and on their views."""
    features = {"train": pooled(model, training, recipe), "validation": pooled(model, validation, recipe)}
    scored = (features["validation"], validation.targets)
    plain = solve((features["train"], training.targets), scored, recipe)
    on_views = None
    if recipe.views > 1:
        on_views = solve(pooled_views(model, training, recipe, features["train"]), scored, recipe)
    return SolvedHeads(plain, on_views, features)


def out_of_fold(
    features: Float[np.ndarray, "object feature"],
    targets: Int[np.ndarray, " object"],
    groups: Int[np.ndarray, " object"],
    recipe: Recipe,
) -> Float[np.ndarray, "object class"] | None:
    """Log-probabilities of training objects, each from a head that was solved without it and its group of the sky.

    Only so can their labels be judged: of its own training objects a network is too sure. An object whose features are
    far from all others would get an extreme probability, right or wrong; so features are cut at `FAR`, and the head is
    a restrained one. None where a class is in too few groups to be divided.
    """
    folds = folds_of(targets, groups, FOLDS)
    if folds is None:
        return None
    found = np.zeros((len(targets), int(targets.max()) + 1), dtype=np.float32)
    for rest, fold in folds:
        mean, scale = features[rest].mean(0), np.maximum(features[rest].std(0), 1e-9)
        near = np.clip((features - mean) / scale, -FAR, FAR)
        known = (near[rest], targets[rest])
        found[fold] = solve(known, known, recipe, (JUDGE,)).log_probabilities(near[fold])
    return found


def starting_head(
    model: ThawedNetwork, training: LabelledImages, validation: LabelledImages, recipe: Recipe
) -> LinearProbe:
    """The solved head that training may start from: restrained, and chosen by log loss."""
    by_loss = recipe.model_copy(update={"select": "log_loss"})
    scored = (pooled(model, validation, recipe), validation.targets)
    return solve((pooled(model, training, recipe), training.targets), scored, by_loss, RESTRAINED)


def solve_again(
    model: ThawedNetwork, name: str, strength: float, training: LabelledImages, recipe: Recipe
) -> LinearProbe:
    """Solve a head by its name as before, with the strength that was best then, on other images."""
    features = pooled(model, training, recipe)
    plain = (features, training.targets)
    on = pooled_views(model, training, recipe, features) if name == SOLVED_ON_VIEWS else plain
    return solve(on, plain, recipe, (strength,))
