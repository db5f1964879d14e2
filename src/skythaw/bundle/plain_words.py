"""Words that a bundle's description may hold: they can be shown, and are not long."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} holds characters that can't be shown")
    return text


Word = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
