"""A thread with an event loop, for waits that end in time: other threads wait there for what a coroutine gives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """The thread; it ends with `close`, or with the process.

    Examples
    --------
    >>> import asyncio
    >>> from skythaw.machine.loop_thread import LoopThread
    >>> thread = LoopThread()
    >>> thread.run(asyncio.sleep(0, "done"), 10)
    'done'
    >>> thread.run(asyncio.sleep(1000), 0.01)
    Traceback (most recent call last):
    TimeoutError
    >>> thread.close()
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="skythaw-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """What the coroutine returns or raises.

        Raises
        ------
        TimeoutError
            It did not end within these seconds; it was cancelled.
        """
        waiting = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, and end the thread."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
