"""Strategies: how a network is thawed. One a file, one registry line each.

A strategy is a function ``(blocks, depth) -> Thaw``: given how many blocks a network has, and a depth, it says which of
them learn, when, how fast, and from what start. One that takes a further whole number is given it by name: ``block:3``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial

from skythaw import registry
from skythaw.errors import SpecError
from skythaw.tuning.thaw import Thaw

Strategy = Callable[[int, int], Thaw]


def strategy(name: str) -> Strategy:
    """The strategy of a name.

    Raises
    ------
    UnknownNameError
        There is none of that name.
    SpecError
        The number after the colon is none, or the strategy takes none.
    """
    base, colon, text = name.partition(":")
    found: Strategy = registry.get("strategy", base)
    if not colon:
        return found
    further = list(inspect.signature(found).parameters)[2:]
    if not further:
        raise SpecError(f"strategy {name!r}: {base} takes no number; write {base!r}")
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise SpecError(f"strategy {name!r}: after the colon stands {further[0]}, a whole number from 1, not {text!r}")
    return partial(found, **{further[0]: int(text)})
