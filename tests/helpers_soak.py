"""What takes long runs in `make soak` alone: further cases of a property, and whole runs of many seconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
from hypothesis import given, settings

FEW = 20
"""made-up examples of a property in `make test`"""

SIZES = ("small", pytest.param("whole", marks=pytest.mark.soak))
"""For a test that runs twice: a small one in `make test`, and the whole in `make soak`."""


def soak(cases: Iterable[Any], keep: int | Collection[Any] = 1) -> list[Any]:
    """Cases of a parametrisation, of which `make test` runs those to keep: the first so many, or those named."""
    marked = []
    for number, case in enumerate(cases):
        kept = number < keep if isinstance(keep, int) else case in keep
        values = case if isinstance(case, tuple) else (case,)
        marked.append(pytest.param(*values, marks=() if kept else pytest.mark.soak))
    return marked


def few(examples: int) -> pytest.MarkDecorator:
    """A test with the argument `examples`: a few in `make test`, and so many in `make soak`."""
    return pytest.mark.parametrize("examples", [min(FEW, examples), pytest.param(examples, marks=pytest.mark.soak)])


def fuzz(examples: int, *strategies: Any, **more: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Test a function with made-up arguments: a few times in `make test`, and `examples` times in `make soak`.

    `strategies` are those of hypothesis; keywords are its settings. The function takes no fixtures.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @few(examples)
        def test(examples: int) -> None:
            settings(max_examples=examples, deadline=None, **more)(given(*strategies)(check))()

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate
