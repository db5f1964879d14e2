"""Progress of long work: a bar on a terminal, one line in a notebook, nothing in a file."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self
from warnings import catch_warnings, simplefilter

if TYPE_CHECKING:
    from rich.progress import Progress
    from tqdm import tqdm


def progress_bar(unit: str, *, shown: bool = True) -> Any:
    """A progress bar with counts and time left: on a terminal by rich, in a notebook one line by tqdm, else nothing.

    Fields of a task: ``count``, shown instead of its numbers; ``begun``, what was done before it started.
    """
    return NotebookBar(unit) if shown and in_notebook() else _terminal_bar(unit, shown)


def _terminal_bar(unit: str, shown: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    def rate(task: Task) -> float:
        """Steps a second since the start (rich's own forgets after half a minute, and a step may take longer)."""
        return (task.completed - task.fields.get("begun", 0)) / (task.elapsed or 1)

    class Count(ProgressColumn):
        """What is done of what; nothing as long as nobody knows."""

        def render(self, task: Task) -> Text:
            known = "" if task.total is None else f"{task.completed:,.0f}/{task.total:,.0f} {unit}"
            return Text(task.fields.get("count", known))

    class Rate(ProgressColumn):
        """How many a second, once that is known."""

        def render(self, task: Task) -> Text:
            return Text(f"{brief(rate(task))}/s" if rate(task) > 0 else "")

    class Left(ProgressColumn):
        """How long it will still take, once that is known."""

        def render(self, task: Task) -> Text:
            known = task.total is not None and rate(task) > 0
            seconds = math.ceil(((task.total or 0) - task.completed) / rate(task)) if known else None
            return Text("left -:--:--" if seconds is None else f"left {timedelta(seconds=max(0, seconds))}")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        Count(),
        *([] if unit == "cells" else [Rate()]),
        TimeElapsedColumn(),
        Left(),
        console=Console(stderr=True),
        disable=not (shown and sys.stderr.isatty()),
        transient=True,
    )


def tracked(
    items: Iterable[Any], total: int | None, description: str, unit: str = "images", *, shown: bool = True
) -> Iterator[Any]:
    """Go through items with a progress bar."""
    with progress_bar(unit, shown=shown) as bar:
        task = bar.add_task(description, total=total)
        for item in items:
            yield item
            bar.advance(task)


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook, where a line can be written anew but nothing above it."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


class NotebookBar:
    """What `skythaw` uses of rich's `Progress`, as one line of tqdm: that of the task begun last."""

    def __init__(self, unit: str) -> None:
        with catch_warnings():
            simplefilter("ignore")  # libraries import this too, and it warns of widgets that no line here needs
            import_module("tqdm.auto")
        self.console, self._unit = self, unit
        self._bars: dict[int, tqdm[Any]] = {}
        self._names: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for task in list(self._bars):
            self.remove_task(task)

    def print(self, text: str, **_: Any) -> None:
        """Write a line that stays."""
        print(text, file=sys.stderr)

    def add_task(self, description: str, total: float | None = None, **fields: Any) -> int:
        """Begin a task; its number."""
        self._names.append(description)
        self._open(len(self._names) - 1, total, **fields)
        return len(self._names) - 1

    def update(self, task: int, *, completed: float | None = None, advance: float = 0, **fields: Any) -> None:
        """Tell how far a task is."""
        bar = self._bars[task]
        if "count" in fields:
            bar.set_postfix_str(fields["count"], refresh=False)
        bar.update(advance if completed is None else completed - bar.n)

    def advance(self, task: int, advance: float = 1) -> None:
        """Tell that a task is further."""
        self._bars[task].update(advance)

    def reset(self, task: int, *, description: str, total: float | None, **fields: Any) -> None:
        """Begin a task anew."""
        self.remove_task(task)
        self._names[task] = description
        self._open(task, total, **fields)

    def remove_task(self, task: int) -> None:
        """End a task: its line is empty again."""
        bar = self._bars.pop(task, None)
        if bar is not None:  # a bar that knows no total is neither true nor false
            bar.close()

    def _open(self, task: int, total: float | None, *, completed: float = 0, count: str = "", **_: Any) -> None:
        from tqdm import tqdm

        known = "{desc} |{bar:24}| {percentage:3.0f} %{postfix}, {elapsed}, left {remaining}"
        self._bars[task] = tqdm(
            desc=self._names[task],
            total=total,
            initial=completed,
            file=sys.stderr,
            leave=False,
            mininterval=0.5,
            position=0,
            bar_format=known if total else "{desc}{postfix}, {elapsed}",
            postfix=count or self._unit,
        )


def brief(number: float) -> str:
    """Three digits of a number, as people write it: ``0.123``, ``12.3``, ``12,345``."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
