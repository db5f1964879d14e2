"""How commands speak: tables and answers on standard output, progress and warnings on standard error."""

from __future__ import annotations

import json
import math
import re
import signal
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from skythaw.errors import SpecError

if TYPE_CHECKING:
    from rich.progress import Progress

NARROW = 80
"""columns of a terminal, as people have them; and of a file or a pipe"""
LONGEST = 2000
"""letters of a message"""


def say(text: str) -> None:
    """A line of the answer."""
    typer.echo(text)


def say_wrapped(text: str, indent: str = "") -> None:
    """Text of the answer, broken into lines that a narrow terminal holds; further lines are indented."""
    lines = textwrap.wrap(text, NARROW, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    for line in lines:
        say(line)


def warn(text: str) -> None:
    """A line that the user should know."""
    typer.echo(f"warning: {text}", err=True)


def plain_line(text: str) -> str:
    """A text as one line that does nothing to a terminal: names in hostile files may hold escape sequences."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= LONGEST else line[:LONGEST] + " ..."


def print_json(content: dict[str, Any], file: Path | None = None) -> None:
    """Write JSON to a file, or to standard output (no file, or ``-``). Never NaN: null stands for undefined."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    if file is None or str(file) == "-":
        typer.echo(text, nl=False)
        return
    from skythaw.machine.files import replacing

    with replacing(file) as out:
        out.write(text.encode())


def progress_bar(unit: str) -> Progress:
    """A progress bar with counts and time left, on a terminal only.

    Fields of a task: ``count``, shown instead of its numbers; ``begun``, what was done before it started.
    """
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
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def tracked(items: Iterable[Any], total: int | None, description: str, unit: str = "images") -> Iterator[Any]:
    """Go through items with a progress bar."""
    with progress_bar(unit) as bar:
        task = bar.add_task(description, total=total)
        for item in items:
            yield item
            bar.advance(task)


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the block cleanly; `kept` says what is kept, and how to go on."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; {kept}", err=True)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def brief(number: float) -> str:
    """Three digits of a number, as people write it: ``0.123``, ``12.3``, ``12,345``."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def parse_bytes(text: str, option: str) -> int:
    """Bytes as people write them: ``500MB``, ``20 GB``, ``1.5GiB``, ``0``.

    Raises
    ------
    SpecError
        It is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if not match or (match[3] and not match[2]):
        raise SpecError(f"{option} {text!r} is no size; write for example 500MB, 20GB, or 0")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** " kmgt".index(match[2] or " "))


def percent(share: float | None, digits: int = 1) -> str:
    """A share from 0 to 1 as ``12.3 %``."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def count(number: float) -> str:
    """A large number with its metric prefix: ``3.5 M``."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number:.3g}"
