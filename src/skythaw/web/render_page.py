"""Pages from their templates. Every word of a user is text, and never HTML."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse, Response

from skythaw.machine.package_version import version_of

DIGITS = {"macro_f1": ".3f", "accuracy": ".3f", "seconds": ".1f"}


def page(request: Request, name_of_template: str, title: str, status: int = 200, **content: Any) -> Response:
    """One page."""
    text = template(name_of_template).render(title=title, at=request.url.path, version=version_of("skythaw"), **content)
    return HTMLResponse(text, status)


def report_page(text: str) -> Response:
    """The page of a report, under the content security policy that it brings along: it draws with its own scripts."""
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    policy = found.group(1) if found else "default-src 'none'"
    return HTMLResponse(text, headers={"content-security-policy": f"{policy}; frame-ancestors 'none'"})


def in_address(name: str) -> str:
    """A name as an address can hold it: letters, digits, dots, underscores and hyphens."""
    return "".join(c if (c.isalnum() and c.isascii()) or c in "._-" else "-" for c in name).strip(".") or "it"


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("skythaw.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters["number"] = lambda value, form="": "-" if value is None else format(value, form)
    made.filters |= {"time": _time, "clock": _clock}
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


def _clock(seconds: float) -> str:
    """A time that runs down, to the second."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
