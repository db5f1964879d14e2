"""skythaw: which layers to fine-tune, and with how many images.

Everything that is meant for scripts and notebooks is here; docs/python.md shows it. A name is imported when it is first
used, so that ``import skythaw`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skythaw.api.finished_run import Run as Run
    from skythaw.bundle.classifier import Classifier as Classifier
    from skythaw.bundle.classifier import load as load

PUBLIC = {
    "Classifier": "skythaw.bundle.classifier",
    "Run": "skythaw.api.finished_run",
    "load": "skythaw.bundle.classifier",
}
"""where each public name is"""
__all__ = ["Classifier", "Run", "load"]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'skythaw' has no attribute {name!r}; it has {', '.join(sorted(PUBLIC))}")
    found = getattr(import_module(PUBLIC[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
