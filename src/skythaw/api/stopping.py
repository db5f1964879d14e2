"""Ctrl-C, and the stop button of a notebook: work ends cleanly, and one sentence says what is kept and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class StoppedError(KeyboardInterrupt):
    """The user has stopped the work; the message says what is kept. A notebook shows the message alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"stopped: {self}"]


@contextmanager
def stopping_says(kept: str) -> Iterator[None]:
    """Whoever stops the block is told what is kept, and how to go on.

    Raises
    ------
    StoppedError
        The block was stopped. It is a `KeyboardInterrupt`, so that what comes next does not run.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError(kept) from None
