"""A pydantic error as one line: the dotted name of what is wrong, the value, and what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from skythaw.errors import nearest
from skythaw.spec.pixel_settings import Pixels
from skythaw.spec.recipe import Recipe
from skythaw.spec.record import ON_OFF

LONGEST = 80
"""letters of a value that is shown"""
KINDS = {"int", "float", "str", "bool", "nullable"}
NUMBERS = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text in quotes"}
EXPECTED = {
    **{f"{kind}_{how}": words for kind, words in NUMBERS.items() for how in ("type", "parsing", "from_float")},
    "int_parsing_size": "a smaller number",
    "finite_number": "a finite number",
    "path_type": "a path in quotes",
    "tuple_type": "a list",
    "dict_type": "a table, {{ key = value }}",
    "too_short": "a list with at least one value",
    "greater_than_equal": "at least {ge:.16g}",
    "greater_than": "above {gt:.16g}",
    "less_than_equal": "at most {le:.16g}",
    "less_than": "below {lt:.16g}",
    "literal_error": "{expected}",
}
"""what a value must be, by pydantic's type of a fault"""
PATTERNS = {r"^[\w.-]+$": "made of letters, digits, '_', '.' and '-' alone"}
FORMS = {
    "Split": 'a table, such as { by = "auto", validation = 0.15, test = 0.25 }',
    "Stretch": "'linear', 'sqrt' or 'asinh', or a table, { kind = ..., low = ..., high = ... }",
    "WeightsChoice": "a file, 'imagenet', 'random', a name of published weights, or a table, { file = ... }",
    "Data": "a section, [data]",
    "Grid": "a section, [grid]",
    "Recipe": "a section, [recipe]",
}
"""what stands for a model in a study file"""


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of an error that `model` raised; an unknown key comes before all others."""
    faults = error.errors()
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    where = _where(fault)
    dotted = ".".join(str(part) for part in where)
    if fault["type"] == "extra_forbidden":
        return f"unknown key {dotted!r}; {_known(model, where)}"
    if fault["type"] == "missing":
        return f"{dotted!r} is missing"
    if fault["type"] == "value_error":
        message = str(fault["msg"]).removeprefix("Value error, ")
        return f"{dotted}: {message}" if dotted else message
    expected = [_expected(each) for each in faults if _where(each) == where]
    right, value = ", or ".join(dict.fromkeys(filter(None, expected))), fault["input"]
    if isinstance(where[-1], int):
        said = f"{'.'.join(str(part) for part in where[:-1])}: {_shown(value)}"
    else:
        said = f"{dotted} = {_shown(value)}"
    if not right:
        return f"{said}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"
    one = not right.startswith("a list")
    return f"{said} must be {right}{_further(model, where, value) if one else ''}"


def _where(fault: ErrorDetails) -> list[Any]:
    """The keys and places in lists that lead to a fault."""
    *above, last = fault["loc"] or ("",)
    if fault["type"] == "extra_forbidden":
        return [part for part in above if not _branch(part)] + [last]
    found = [part for part in (*above, last) if not _branch(part)]
    return found[:-1] if len(found) > 1 and found[-1] in KINDS else found


def _branch(part: int | str) -> bool:
    """Whether a part of a place names no key, but one of several forms that a value may have."""
    return isinstance(part, str) and ("[" in part or part.startswith("constrained-"))


def _expected(fault: ErrorDetails) -> str:
    """What would be right; empty where that is not known in plain words."""
    given = fault.get("ctx", {})
    if fault["type"] == "string_pattern_mismatch":
        return PATTERNS.get(given["pattern"], "")
    if fault["type"] == "model_type":
        return FORMS.get(given["class_name"], "a table, { key = value }")
    return EXPECTED.get(fault["type"], "").format_map(given)


def _further(model: Any, where: Sequence[Any], value: Any) -> str:
    """What else would be right: false, or a list in another section."""
    field = _field(model, where)
    off = ", or false" if field is not None and any(each is ON_OFF for each in field.metadata) else ""
    listed = isinstance(value, list) and len(where) == 2 and where[0] in ("data", "recipe")
    if listed and where[1] in {*Pixels.model_fields, *Recipe.model_fields}:
        return f"{off}; a list of values to compare stands in [grid]"
    return off


def _field(model: Any, where: Sequence[Any]) -> FieldInfo | None:
    """The field at a place; None where a list or a free table leads there."""
    for part in where[:-1]:
        found = getattr(model, "model_fields", {}).get(part)
        model = None if found is None else found.annotation
    found = getattr(model, "model_fields", {}).get(where[-1])
    return found if isinstance(found, FieldInfo) else None


def _known(model: type[BaseModel], where: Sequence[Any]) -> str:
    """Where an unknown key belongs, or which keys are known in its place."""
    key = str(where[-1])
    sections = {name: getattr(field.annotation, "model_fields", {}) for name, field in model.model_fields.items()}
    if (right := [name for name, keys in sections.items() if key in keys]) and len(where) < 3:
        return f"{key} stands in [{right[0]}]"
    return nearest(key, _keys(model, where[:-1]))


def _keys(model: Any, where: Sequence[Any]) -> list[str]:
    """The keys known at a place in a study file."""
    for part in where:
        model = get_args(model)[1] if get_origin(model) is dict else model.model_fields[part].annotation
        if get_origin(model) is Annotated:
            model = get_args(model)[0]
    return list(model.model_fields)


def _shown(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        value = dict(value)
    text = repr(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."
