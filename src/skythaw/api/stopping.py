"""Ctrl-C, and the stop button of a notebook: work ends cleanly, and one sentence says what is kept and how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class StoppedError(KeyboardInterrupt):
    """The user has stopped the work; the message says what is kept. A notebook shows the message alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"stopped: {self}"]


@contextmanager
def stopping_says(kept: str | Callable[[], str]) -> Iterator[None]:
    """Whoever stops the block is told what is kept, and how to go on. A function is called when the block has ended.

    Raises
    ------
    StoppedError
        The block was stopped. It is a `KeyboardInterrupt`, so that what comes next does not run.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError(kept if isinstance(kept, str) else kept()) from None


def what_is_kept(out: Path, sdss: bool) -> str:
    """What is on the disk of a prediction that was stopped; `out` is the file, or the folder of shards."""
    kept = [f"what was fetched is kept in {out}.sdss"] if sdss else []
    if not out.suffix:
        kept.append(f"whole shards are kept in {out}")
    elif out.with_name(f"{out.name}.part").is_dir():
        kept.append(f"what was done is kept in {out}.part")
    return ", ".join(kept) or "nothing was done yet"
