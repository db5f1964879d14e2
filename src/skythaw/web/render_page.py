"""Pages from their templates. Every word of a user is text, and never HTML."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse, Response

DIGITS = {"macro_f1": ".3f", "accuracy": ".3f", "seconds": ".1f"}


def page(request: Request, name_of_template: str, title: str, status: int = 200, **content: Any) -> Response:
    """One page."""
    text = template(name_of_template).render(title=title, at=request.url.path, version=version("skythaw"), **content)
    return HTMLResponse(text, status)


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("skythaw.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters["number"] = lambda value, form="": "-" if value is None else format(value, form)
    made.filters["time"] = _time
    made.globals.update(digits=DIGITS)
    return made


def template(name: str) -> Any:
    """The template of a page, or of a part of one."""
    return _environment().get_template(f"{name}.html")


def _time(seconds: float | None) -> str:
    """A time to wait, in words."""
    if seconds is None:
        return "not known yet"
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(0, round(seconds))} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
