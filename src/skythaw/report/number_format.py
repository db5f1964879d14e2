"""How numbers are written for a reader: on the terminal, on the page, in figures and in tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

DASH = "\u2013"
"""What stands for a number that is not there."""


def say(value: float | str | None, *, whole: bool = False) -> str:
    """Write one value.

    Parameters
    ----------
    value
        a float has three decimals below 10, three digits below 0.01, fewer decimals above; None and NaN are a dash
    whole
        write a float as a whole number
    """
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "\u2212∞" if value < 0 else "∞"
    if isinstance(value, int) or (whole and value == int(value)):
        return _minus(f"{int(value):,}" if abs(value) >= 10_000 else str(int(value)))
    return _minus(_decimal(value))


def _decimal(value: float) -> str:
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.01 or size >= 1e15:
        return f"{value:.3g}"
    decimals = 3 if size < 10 else 1 if size < 1000 else 0
    return f"{value:.{decimals}f}" if size < 10_000 else f"{value:,.0f}"


def _minus(text: str) -> str:
    return text.replace("-", "\u2212") if "e" not in text else text


def with_interval(score: dict[str, Any], form: str = ".3f") -> str:
    """``0.776 (0.761 to 0.791)``; without an interval, ``0.776 ± 0.004`` over seeds."""
    text = f"{score['mean']:{form}}"
    if score.get("low") is not None:
        return f"{text} ({score['low']:{form}} to {score['high']:{form}})"
    return text if score.get("std") is None else f"{text} ± {score['std']:{form}}"


def percent(share: float | None) -> str:
    """``55 %``; with one decimal below 10 % and just below 100 %."""
    if share is None:
        return "-"
    if 0.995 <= share < 1:  # never 100 %
        return f"{math.floor(1000 * share) / 10:.1f} %"
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def points(difference: float, *, sign: bool = True) -> str:
    """Hundredths of a score."""
    return f"{round(100 * difference, 1) + 0.0:{'+' if sign else ''}.1f}"


def points_range(difference: dict[str, Any]) -> str:
    """``+4.9 to +10.5``, in hundredths of a score."""
    return f"{points(difference['low'])} to {points(difference['high'])}"


def listed(several: Iterable[Any]) -> str:
    """``3``, ``3 and 6``, ``3, 6 and 10``."""
    names = [str(each) for each in several]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def listed_depths(several: Iterable[int]) -> str:
    """``depth 3``, ``depths 3 and 6``."""
    several = list(several)
    return f"depth{'s' if len(several) > 1 else ''} {listed(several)}"


def rounded(count: int) -> str:
    """A number of objects to two digits."""
    if count >= 10**7:
        return "more than ten million"
    digits = max(0, len(str(count)) - 2)
    return f"{round(count, -digits):,}"
