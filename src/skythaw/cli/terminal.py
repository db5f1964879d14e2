"""How commands speak: tables and answers on standard output, progress and warnings on standard error."""

from __future__ import annotations

import json
import signal
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer

from skythaw.api.progress_bar import brief, progress_bar, tracked
from skythaw.api.run_choices import parse_bytes

__all__ = ["brief", "parse_bytes", "progress_bar", "tracked"]  # as before, beside what is defined here

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
    text = text.encode("utf-8", "backslashreplace").decode()  # names of files that are not UTF-8, as JSON's escapes
    if file is None or str(file) == "-":
        typer.echo(text, nl=False)
        return
    from skythaw.machine.files import replacing

    with replacing(file) as out:
        out.write(text.encode())


@contextmanager
def stoppable(kept: str | Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop the block cleanly; `kept` says what is kept, and how to go on.

    A function is called when the block has ended.
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; {kept if isinstance(kept, str) else kept()}", err=True)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


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


def percent(share: float | None, digits: int = 1) -> str:
    """A share from 0 to 1 as ``12.3 %``."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def count(number: float) -> str:
    """A large number with its metric prefix: ``3.5 M``."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number:.3g}"
