"""What an engine is."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Outcome:
    """What became of one item: a value, or the error that its function raised."""

    item: Any
    value: Any = None
    error: str | None = None
    """the traceback as text"""


class Engine(ABC):
    """Maps a function over items.

    `map` takes items from the iterable one by one, only when it has a free worker, and yields outcomes as they are
    ready, in any order. A function that raises, or kills its worker, gives an `Outcome` with an error; the others go
    on. Closing the iterator before its end (or an exception such as KeyboardInterrupt) stops the workers at once; after
    the end they wait for the next `map`, which so need not start them again, until the engine is closed.
    """

    workers: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Stop the workers."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Outcome]:
        """Yield an `Outcome` for each item."""


def attempt(function: Callable[[Any], Any], item: Any) -> Outcome:
    """Call the function; an exception becomes data."""
    try:
        return Outcome(item, value=function(item))
    except Exception:
        return Outcome(item, error=traceback.format_exc())
