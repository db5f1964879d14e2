"""One item after the other, in this process: the engine to debug with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from skythaw.engines.engine import Engine, Outcomes, attempt


class Serial(Engine):
    """Runs everything in the calling process. `workers` is taken for the sake of a common signature, and is 1."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = 1

    def close(self) -> None:
        """There is nothing to stop."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Outcomes:
        for item in items:
            yield attempt(function, item)
