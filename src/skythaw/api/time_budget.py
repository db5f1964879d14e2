"""How long `tune` may take: reading a budget as people write it, what is left of it, and stopping when it is over."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from numbers import Real
from types import FrameType
from typing import NoReturn

from skythaw.errors import SpecError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PART = r"(\d+(?:\.\d+)?)\s*(s|m|h|d)(?:ec|in|our|ay)?s?"


class TimeIsUp(BaseException):
    """The budget is used up. Like KeyboardInterrupt it is no error, so that it passes what catches errors."""


@dataclass(frozen=True)
class TimeBudget:
    """A budget of time, from a moment on."""

    seconds: float
    """all of it, what was used before included"""
    used_before: float = 0.0
    """by earlier calls that this one goes on with"""
    begun: float = 0.0
    """`time.monotonic` when this call began"""

    @classmethod
    def begin(cls, seconds: float, used_before: float = 0.0) -> TimeBudget:
        """A budget whose clock runs from now on."""
        return cls(seconds, used_before, time.monotonic())

    @property
    def used(self) -> float:
        """Seconds that are used, earlier calls included."""
        return self.used_before + time.monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds that are left; below 0 where it is over."""
        return self.seconds - self.used


def parse_budget(text: str | float | timedelta) -> float:
    """A budget as people write it, in seconds.

    Parameters
    ----------
    text
        ``"30m"``, ``"90s"``, ``"1h"``, ``"1h 30m"``, ``"10 min"``; a number is seconds; or a `datetime.timedelta`

    Raises
    ------
    SpecError
        It is none of these, or nothing.

    Examples
    --------
    >>> parse_budget("1h 30m")
    5400.0
    """
    wanted = "write for example 90s, 30m, 2h or 1h 30m"
    if isinstance(text, str):
        plain = text.strip().lower()
        if not re.fullmatch(rf"(?:{PART}\s*)+", plain):
            raise SpecError(f"budget {text!r} is no time: {wanted}")
        seconds = sum(float(number) * SECONDS[unit] for number, unit in re.findall(PART, plain))
    elif isinstance(text, timedelta):
        seconds = text.total_seconds()
    elif isinstance(text, Real) and not isinstance(text, bool):
        seconds = float(text)
    else:
        raise SpecError(f"budget {text!r} is no time: {wanted}")
    if not 0 < seconds < float("inf"):
        raise SpecError(f"budget {text!r} is no time to work in: {wanted}")
    return seconds


@contextmanager
def stopping_after(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUp` inside the block when so many seconds are over.

    That needs the main thread, and a system that has alarms; elsewhere the block has to look at the time by itself. An
    alarm that was set before goes on afterwards.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    before, begun = signal.signal(signal.SIGALRM, _ring), time.monotonic()
    waiting, _ = signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if waiting:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, waiting - (time.monotonic() - begun)))


def _ring(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TimeIsUp
