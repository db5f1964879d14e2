"""What an engine is."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from skythaw import registry
from skythaw.engines.shared_files import Shared
from skythaw.errors import SpecError
from skythaw.machine.device import give_back_memory


@dataclass(frozen=True)
class Outcome:
    """What became of one item: a value, or the error that its function raised."""

    item: Any
    value: Any = None
    error: str | None = None
    """the traceback as text"""
    died: bool = False
    """Whether the worker died of it, or with it; else the function raised."""


@dataclass(frozen=True)
class Needs:
    """What one item takes of a cluster. Engines on one machine heed none of it: they run `workers` items at a time."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    """bytes"""
    group: str | None = None
    """items of one group are best done on one node: they find something there that another of them left"""
    largest: int = 0
    """bytes of the largest item of the group, for which its node should have room"""
    retries: int = 3
    """how often the item is given out again whose worker or node died"""
    stay: bool = False
    """Whether to wait for the group's node where it is busy; else another will do."""


Outcomes = Generator[Outcome, None, None]


class Engine(ABC):
    """Maps a function over items.

    `map` takes items from the iterable one by one, only when it has a free worker, and yields outcomes as they are
    ready, in any order. A function that raises, or kills its worker, gives an `Outcome` with an error; the others go
    on. Closing the iterator before its end (or an exception such as KeyboardInterrupt) stops the workers at once; after
    the end they wait for the next `map`, which so need not start them again, until the engine is closed.

    A function may have a method ``needs(item) -> Needs``.
    """

    workers: int
    cluster: bool = False
    """Whether items go where their needs are met, which may be a machine that sees none of this one's files."""
    local: bool = True
    """Whether all workers are on this machine."""
    tells: bool = False
    """Whether `meanwhile` is called."""
    meanwhile: Callable[[], None] | None = None
    """Called every second or so while `map` waits for its workers; what it raises stops them, and leaves `map`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod  # noqa: B027
    def warm_up(cls) -> None:
        """Begin early with what takes long to start, and return at once. An engine works without this, too."""

    @abstractmethod
    def close(self) -> None:
        """Stop the workers."""

    @abstractmethod
    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Outcomes:
        """Yield an `Outcome` for each item."""

    def share(self, path: Path) -> Shared:
        """What a function may carry along to find a file or folder at the worker, wherever that is."""
        return Shared(path)


def open_engine(name: str, workers: int | None = None, address: str | None = None) -> Engine:
    """Make the engine of a name.

    Parameters
    ----------
    name
        as registered
    workers
        items at a time; None is one, or as many as a cluster has room for
    address
        of a running cluster

    Raises
    ------
    SpecError
        An address, but the engine uses no cluster.
    """
    kind: type[Engine] = registry.get("engine", name)
    if kind.cluster:
        return kind(workers=workers, address=address)  # type: ignore[call-arg]
    if address is not None:
        raise SpecError(f"the engine {name} uses no cluster, so the address {address} is of no use; say --engine ray")
    return kind(workers=workers or 1)  # type: ignore[call-arg]


def attempt(function: Callable[[Any], Any], item: Any) -> Outcome:
    """Call the function; an exception becomes data. What either leaves unused of a GPU's memory is for all again."""
    try:
        return Outcome(item, value=function(item))
    except Exception:
        return Outcome(item, error=traceback.format_exc())
    finally:  # the exception, which holds what the function had, is gone by now
        give_back_memory()


def answer_items(pipe: Connection) -> None:
    """A worker process's side: answer the items that come through the pipe until it is closed."""
    while True:
        try:
            function, item = pipe.recv()
        except EOFError:
            return
        outcome = attempt(function, item)
        pipe.send((outcome.value, outcome.error))
