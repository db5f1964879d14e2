"""What a bundle says of the numbers that it takes beside an image: `NumbersRecord`. No torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from skythaw.bundle.plain_words import Word
from skythaw.spec import IMAGES, Cell, Frozen, Numbers

HALVES = ("images", "table")
SCORES = frozenset({"own", "macro_f1", "accuracy", "per_class"})
"""of a classifier on the test set, by name"""
KIND = r"^(magnitude|luptitude|number|flux/(\d{1,6}(\.\d{1,6})?|\d(\.\d{1,6})?e[+-]\d\d))$"
MOST_NUMBERS, LONGEST_NAME = 2000, 200
Bound = Annotated[float, Field(allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0.01, le=100)]


class NumbersRecord(Frozen):
    """Numbers beside an image, and the two halves of a classifier that takes both. The settings are in the cell."""

    names: Annotated[tuple[Word, ...], Field(min_length=1, max_length=MOST_NUMBERS)]
    """of the numbers, in the order in which the model takes them"""
    kinds: dict[Word, Annotated[str, Field(pattern=KIND)]]
    """how each column is read: ``magnitude``, ``luptitude``, ``number``, or ``flux/S`` with the softening S"""
    ranges: dict[Word, tuple[Bound, Bound]] = Field(default_factory=dict, exclude_if=lambda ranges: not ranges)
    """between which values each column lay in the training; older bundles have none"""
    model: Literal["forest", "boosting", "linear"]
    """what the half of the numbers is"""
    fusion: Literal["mean", "stack"]
    """how the two halves are combined"""
    temperature: Temperature
    """of both together, fitted on the validation set"""
    table_temperature: Temperature
    """of the numbers alone"""
    scores: dict[str, dict[str, Any]]
    """of each half alone on the test set: ``images`` and ``table``"""

    in_onnx: Literal[False] = False
    """the ONNX file of the bundle, where there is one, is the network alone"""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(set(self.names)) < len(self.names):
            raise ValueError("a number's name occurs twice")
        if set(self.scores) != set(HALVES):
            raise ValueError(f"the scores of the numbers should be those of {' and '.join(HALVES)}")
        for half in HALVES:
            if missing := SCORES - self.scores[half].keys():
                raise ValueError(f"the scores of {half} lack {min(missing)!r}")
        return self


def numbers_problem(cell: Cell, record: NumbersRecord | None) -> str | None:
    """Why a bundle's cell and its numbers do not belong together; None if they do."""
    settings = cell.numbers
    if (cell.inputs == IMAGES) != (record is None) or (settings is None) != (record is None):
        return f"a cell of {cell.inputs!r} {'lacks' if record is None else 'has no use for'} a record of numbers"
    return None if settings is None or record is None else _settings_problem(settings, record)


def _settings_problem(settings: Numbers, record: NumbersRecord) -> str | None:
    if not (settings.columns or settings.measured) or len(settings.columns) > MOST_NUMBERS:
        return f"the cell asks for {len(settings.columns)} columns; there should be 1 to {MOST_NUMBERS} numbers"
    if not all(name and name.isprintable() and len(name) <= LONGEST_NAME for name in settings.columns):
        return f"the name of a column should be a printable text of at most {LONGEST_NAME} letters"
    if set(settings.columns) != set(record.kinds):
        return "there should be a kind for each column"
    if any(float(kind.partition("/")[2] or 1) == 0 for kind in record.kinds.values()):
        return "the softening of a flux should be more than 0"
    return None
