"""What all records of a study file share: they are frozen, take no unknown keys, and use these kinds of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

ON_OFF = BeforeValidator(lambda value: None if value is False else value)
"""TOML has no null: ``false`` turns an option off."""


Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Frozen(BaseModel):
    """A record: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values(cls, content: Any) -> Any:
        refuse_truth_values(cls, content)
        return content


def _may_be_truth(kind: Any) -> bool:
    """Whether a type takes true or false."""
    return kind is bool or isinstance(kind, bool) or any(map(_may_be_truth, get_args(kind)))


def refuse_truth_values(model: type[BaseModel], content: Any) -> None:
    """Raise ValueError where true or false stands for a number, or for anything else that is not on or off."""
    for name, value in content.items() if isinstance(content, Mapping) else ():
        field = model.model_fields.get(name)
        if field is None or _may_be_truth(field.annotation):
            continue
        off = any(each is ON_OFF for each in field.metadata)
        values = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(each, bool) and not (off and not each) for each in values):
            raise ValueError(f"{name} = {str(value).lower()} can't be true{'' if off else ' or false'}")
