"""Where the weights of a backbone come from: `WeightsChoice`."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from skythaw.spec.record import Frozen


class WeightsChoice(Frozen):
    """Where a backbone's weights come from, if not the official place, and what they expect."""

    file: Path | None = None
    key: str | None = Field(default=None, exclude_if=lambda key: key is None)
    """which set of weights in the file, where several fit: such as ``"teacher"`` or ``"model_ema"``"""
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
