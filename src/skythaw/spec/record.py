"""What all records of a study file share: they are frozen, take no unknown keys, and use these kinds of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

ON_OFF = BeforeValidator(lambda value: None if value is False else value)
"""TOML has no null: ``false`` turns an option off."""


Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Frozen(BaseModel):
    """A record: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
