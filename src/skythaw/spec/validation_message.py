"""A pydantic error as one line: the dotted name of what is wrong, the value, and what would be right."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from skythaw.errors import nearest


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of an error that `model` raised; an unknown key comes before all others."""
    fault = next((f for f in error.errors() if f["type"] == "extra_forbidden"), error.errors()[0])
    unknown = fault["type"] == "extra_forbidden"
    *above, last = fault["loc"] or ("",)
    where = [part for part in (*above, *([] if unknown else [last])) if isinstance(part, int) or not _branch(part)]
    where += [last] if unknown else []
    dotted = ".".join(str(part) for part in where)
    if unknown:
        return f"unknown key {dotted!r}; {nearest(str(where[-1]), _keys(model, where[:-1]))}"
    if fault["type"] == "missing":
        return f"{dotted!r} is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "tuple_type":
        return f"{dotted} = {fault['input']!r} must be a list"
    if fault["type"] == "value_error":
        return f"{dotted}: {message}" if dotted else message
    return f"{dotted} = {fault['input']!r}: {message[:1].lower()}{message[1:]}"


def _branch(part: str) -> bool:
    """Whether a part of a place names no key, but one of several forms that a value may have."""
    return "[" in part or part.startswith("constrained-")


def _keys(model: Any, where: list[Any]) -> list[str]:
    """The keys known at a place in a study file."""
    for part in where:
        model = get_args(model)[1] if get_origin(model) is dict else model.model_fields[part].annotation
        if get_origin(model) is Annotated:
            model = get_args(model)[0]
    return list(model.model_fields)
