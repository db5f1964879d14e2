"""Many images through a network: in batches, several at a time, in order, and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa
import torch
from threadpoolctl import threadpool_limits

from skythaw.data.decode import BrokenImageError, decode, middle
from skythaw.data.image_form import Form
from skythaw.predict.image_contents import Content

Item = tuple[str, Content]


class Twinned(Protocol):
    """A network that one thread at a time works with."""

    def twin(self) -> Self:
        """The same for another thread; both share their weights."""


Network = TypeVar("Network", bound=Twinned)


def twins(first: Network, threads: int, device: torch.device) -> SimpleQueue[Network]:
    """The same network for several threads: each takes one that is free, and puts it back.

    On a CPU every thread has a network of its own with the same weights. Threads that shared the work of one layer
    would wait for each other, because these layers are small (with 2 cores, one of them busy otherwise, MobileNetV2 at
    64 pixels gives 500 images per second in one thread, and 60 in two that share). A GPU gets one batch at a time,
    while other threads read and decode.
    """
    free: SimpleQueue[Network] = SimpleQueue()
    for number in range(threads if device.type == "cpu" else 1):
        free.put(first.twin() if number else first)
    return free


def in_threads(
    work: Callable[[Sequence[Item]], pa.Table], batches: Iterable[Sequence[Item]], threads: int
) -> Generator[pa.Table, None, None]:
    """What `work` gives for each batch, in order, one batch in each thread; no batch is taken before its turn comes."""
    pool = ThreadPoolExecutor(threads, "skythaw", initializer=torch.set_flush_denormal, initargs=(True,))
    waiting: deque[Future[pa.Table]] = deque()
    with threadpool_limits(1, "blas"):  # whose threads, for a product this small, spin and take cores from the others
        try:
            for batch in batches:
                waiting.append(pool.submit(work, batch))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def batches(items: Iterable[Item], batch: int, shard: int, first: int = 0) -> Iterator[list[Item]]:
    """Images in batches; one ends where a shard ends, so that rows do not depend on where the work was stopped.

    `first` is how many images were done before these: whole batches.
    """
    stream, row = iter(items), first
    while found := list(islice(stream, min(batch, shard - row % shard))):
        row += len(found)
        yield found


def middle_of(content: Content, require: Callable[[Form], object], crop: int) -> np.ndarray | str:
    """An image's middle pixels [y, x, band], or why there are none: it is broken, or `require` raises."""
    try:
        return middle(decode(content.read(), "", require), crop)
    except BrokenImageError as error:
        return error.reason
