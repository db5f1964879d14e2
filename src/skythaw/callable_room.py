"""A folder of the source that is a public function, too: `skythaw.report(...)`, beside `skythaw.report.figures`."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

FUNCTIONS = {
    "skythaw.backbones": "skythaw.api.network_functions",
    "skythaw.explain": "skythaw.api.bundle_functions",
    "skythaw.predict": "skythaw.api.bundle_functions",
    "skythaw.report": "skythaw.api.study_functions",
}
"""by the name of a room: where the function of the same name is"""


class CallableRoom(ModuleType):
    """A module that can be called: it is the function of its name then."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return function_of(self.__name__)(*given, **named)

    @property
    def __wrapped__(self) -> Any:
        """The function, for `inspect.signature` and for the help of a notebook."""
        return function_of(self.__name__)


def function_of(room: str) -> Any:
    """The public function that has the name of a room."""
    return getattr(import_module(FUNCTIONS[room]), room.rpartition(".")[2])


def is_a_function_too(room: str) -> None:
    """Let a room be called; it says so itself, in its ``__init__.py``."""
    sys.modules[room].__class__ = CallableRoom
