"""How the trained part of a network is trained, and how objects are divided: `Recipe`, `Split`, `WeightsChoice`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from skythaw.spec.pixel_settings import Frozen

ON_OFF = BeforeValidator(lambda value: None if value is False else value)
"""TOML has no null: ``false`` turns an option off."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
AUTO_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""What ``lr = "auto"`` tries, half a decade apart: from below what suits a whole network to above what suits a head."""


class Split(Frozen):
    """How objects are divided into training, validation and test."""

    by: str = "field"
    """``field`` (run, camcol and field), ``healpix``, ``random``, or a column: objects alike in it stay together."""
    validation: Fraction = 0.15
    test: Fraction = 0.25
    seed: Seed = 0
    nside: Positive = 64
    """HEALPix resolution for ``by = "healpix"``; 64 makes pixels of 55 arcmin."""


class Recipe(Frozen):
    """How the trained part is trained. Every key may also stand in ``[grid]`` as a list and becomes an axis."""

    epochs: Positive = 10
    batch: Positive = 64
    """Images a step."""
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = 1e-3
    """Peak learning rate, or ``auto``: a short seeded search on validation, for each cell its own."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of all steps in which the learning rate rises."""
    clip: Annotated[Annotated[float, Field(gt=0)] | None, ON_OFF] = 1.0
    """Largest norm of the gradient."""
    ema: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, ON_OFF] = 0.98
    """Decay, per step, of the moving average of weights that is scored and kept."""
    batchnorm: Literal["running", "train"] = "running"
    """Batch norm in trained blocks: pretrained running statistics, or statistics of each batch."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Annotated[Literal["balanced"] | None, ON_OFF] = None
    views: Annotated[int, Field(ge=1, le=8)] = 8
    """How many of the eight flips and rotations are used in training; 1 is none: the image as it is."""
    shift: Annotated[int, Field(ge=0)] = 0
    """Largest random shift in training, pixels of the cutout."""
    select: Literal["macro_f1", "log_loss"] = "macro_f1"
    """The validation score that chooses the epoch (and the rate, for ``lr = "auto"``)."""
    patience: Annotated[Positive | None, ON_OFF] = None
    """Stop after so many epochs without a better validation score."""
    precision: Literal["float32", "mixed"] = "float32"
    """``mixed`` uses 16-bit arithmetic on a GPU; nothing on a CPU."""
    activations: Literal["float16", "float32"] = "float16"
    """Precision of the frozen activations that training starts from, kept or computed again. Scores are always of
    float32, and so are the pooled features of depth 0."""
    threads: Positive = 1
    """CPU threads of a cell. Sums depend on it in the last bit, so it is the cell's, not the machine's."""


def trial_epochs(recipe: Recipe) -> int:
    """How long ``lr = "auto"`` trains each rate: a third of the epochs, at least two."""
    return max(2, recipe.epochs // 3)


class WeightsChoice(Frozen):
    """Where a backbone's weights come from, if not the official place, and what they expect."""

    file: Path | None = None
    random: bool = False
    mean: tuple[float, ...] | None = None
    """Per band, of pixels scaled to 0..1. None is what the official weights expect."""
    std: tuple[float, ...] | None = None
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Passed to the library that builds the network, e.g. ``pad_type = "same"``."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.random and self.file is not None:
            raise ValueError("give a file or random = true, not both")
        return self
