"""Which study file an error is about: it is named in what is wrong with the study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skythaw.errors import SpecError, UnknownNameError, WeightsError


@contextmanager
def naming(given: object) -> Iterator[None]:
    """Let errors of what a study says name its file; a study that was written in Python has none."""
    try:
        yield
    except (SpecError, UnknownNameError, WeightsError) as error:
        if isinstance(given, str | Path):
            error.args = (f"{given}: {error}",)
        raise
