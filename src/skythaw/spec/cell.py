"""One training run, and everything that decides its numbers: `Cell`.

Its `key` is the SHA-256 of its canonical JSON: two cells with one key give the same numbers on the same machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, field_validator

from skythaw.spec.number_settings import Numbers
from skythaw.spec.pixel_settings import Pixels, Stretch
from skythaw.spec.recipe import Recipe
from skythaw.spec.record import Frozen, Positive, Seed
from skythaw.spec.split_settings import Split
from skythaw.spec.weights_choice import WeightsChoice

IMAGES = "images"
NUMBER_MODELS = ("boosting", "linear", "forest")
"""which are tried where numbers stand beside the images; on a tie the first is taken"""
CELL_SCHEMA = 5
"""Raised by one, deliberately, when the code changes a cell's numbers: old results then no longer count as done."""

STRATEGY_SCHEMA = {"gradual": 2}
"""The same, of cells of one strategy alone."""


class Cell(Frozen):
    """One training run, and everything that decides its numbers."""

    backbone: str
    strategy: str
    depth: Annotated[int, Field(ge=0)]
    """blocks trained, counted from the top"""
    train_size: Positive
    seed: Seed
    pixels: Pixels
    split: Split
    skip_broken: bool
    recipe: Recipe
    weights: WeightsChoice
    """as chosen, without the file's path: its content is in `weights_sha256`"""
    weights_sha256: str
    data_sha256: str
    test_sha256: str | None
    inputs: str = Field(IMAGES, exclude_if=lambda inputs: inputs == IMAGES)
    """``images``; ``table``, which has no network; or ``both``, as in `skythaw.spec.study.INPUTS`"""
    numbers: Numbers | None = Field(None, exclude_if=lambda numbers: numbers is None)
    """which stand beside the images; None where they are not used"""
    numbers_sha256: str | None = Field(None, exclude_if=lambda sha256: sha256 is None)
    number_models: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    """of the numbers: validation takes the best of these. Empty in older cells: boosting and linear. Of the control:
    a forest"""

    @field_validator("recipe")
    @classmethod
    def _for_its_images(cls, recipe: Recipe, info: ValidationInfo) -> Recipe:
        """A cell says how many steps it may take: the same ones have the same key, whoever chose them."""
        return recipe.for_images(info.data["train_size"]) if "train_size" in info.data else recipe

    @property
    def network(self) -> str:
        """What its network is called beside others of the study: the backbone, and its weights where they are named."""
        return self.weights.beside(self.backbone)

    @property
    def on_images_alone(self) -> Cell:
        """The same cell without numbers: what a cell of both starts from."""
        return Cell.model_validate(self.model_dump(exclude={"inputs", "numbers", "numbers_sha256", "number_models"}))

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
        content = {"schema": CELL_SCHEMA, **self.model_dump(mode="json", exclude={"weights": {"name"}})}
        if self.strategy in STRATEGY_SCHEMA:
            content["strategy_schema"] = STRATEGY_SCHEMA[self.strategy]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, whose key is its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("key", None)
        return copied

    def setting(self, axis: str) -> Any:
        """What stands for the cell on an axis, in tables: a number or words."""
        if axis in ("network", "weights"):
            return self.network if axis == "network" else self.weights.name
        place = next(each for each in (self, self.pixels, self.recipe) if axis in type(each).model_fields)
        value = getattr(place, axis)
        if isinstance(value, tuple):
            return "+".join(map(str, value))
        return str(value) if isinstance(value, Stretch) else value
