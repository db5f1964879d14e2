"""How the trained part of a network is trained: `Recipe`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from skythaw.spec.record import ON_OFF, Frozen, Positive

RATES = (3e-4, 1e-3, 3e-3)
"""What ``lr = "auto"`` tries first, half a decade apart. If the best of them is the first or the last, it goes on
beyond it: the smaller rates suit a network without batch norm, the larger ones a head."""
MOST_STEPS, MOST_EPOCHS = 4000, 64
"""what ``max_steps = "auto"`` allows: so many steps, or so many epochs where these are more"""


class Recipe(Frozen):
    """How the trained part is trained. Every key may also stand in ``[grid]`` as a list and becomes an axis."""

    epochs: Positive | Literal["auto"] = "auto"
    """How often training sees every image; ``auto``: until validation no longer gains."""
    max_steps: Positive | Literal["auto"] = "auto"
    """With ``epochs = "auto"``: the most steps before the learning rate begins to fall; ``auto``: 4000, or 64 epochs if
    these are more."""
    batch: Positive = 64
    """Images a step."""
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Peak learning rate; ``auto``: short trials of several rates on validation, for each setting its own, shared by
    its seeds."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    """How the learning rate goes through a given number of epochs; ``epochs = "auto"`` has a course of its own."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Of a given number of epochs, the share of all steps in which the learning rate rises."""
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
    """The validation score that chooses which weights are kept."""
    patience: Annotated[Positive | None, ON_OFF] = None
    """Of a given number of epochs, stop after so many without a better validation score."""
    precision: Literal["float32", "mixed"] = "float32"
    """``mixed`` uses 16-bit arithmetic on a GPU; nothing on a CPU."""
    activations: Literal["float16", "float32"] = "float16"
    """Precision of the frozen activations that training starts from, kept or computed again. Scores are always of
    float32, and so are the pooled features of depth 0."""
    threads: Positive = 1
    """CPU threads of a cell. Sums depend on it in the last bit, so it is the cell's, not the machine's."""

    def most_steps(self, images: int) -> int:
        """`max_steps`, for so many training images."""
        if self.max_steps == "auto":
            return max(MOST_STEPS, MOST_EPOCHS * math.ceil(images / self.batch))
        return self.max_steps

    def for_images(self, images: int) -> Recipe:
        """The same for a cell with so many training images: `max_steps` is a number."""
        return self.model_copy(update={"max_steps": self.most_steps(images)})
