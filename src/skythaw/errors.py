"""Every error that skythaw raises.

::

    SkythawError            the user's input or surroundings are wrong; one line says what, and what would be right
      SpecError             a study file or an argument can't be used         (also a ValueError)
      UnknownNameError      no such backbone, strategy, depth, key ...        (also a LookupError)
      DataError             cutouts, labels or tables can't be used           (also a ValueError)
      WeightsError          weights are missing, or of another network        (also a RuntimeError)
      CutError              a network can't be divided into blocks or cut     (also a ValueError)
      LedgerError           a run folder is in use, of another study, or torn (also a RuntimeError)
      BundleError           a saved classifier is torn, or not what it says (also a RuntimeError)
      RemoteError           a service on the network fails us               (also a ConnectionError)
      OutputError           a file or a folder can't be written               (also an OSError)

The command line turns any of these into its message and exit code 2. Anything else is a bug: traceback, exit code 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SkythawError(Exception):
    """Base of all errors raised by skythaw on purpose. A notebook shows the sentence alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class SpecError(SkythawError, ValueError):
    """A study file or an argument can't be used."""


class UnknownNameError(SkythawError, LookupError):
    """A name that nothing is registered under."""

    @classmethod
    def among(cls, what: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Make the error for `name`, naming the nearest of the `known` ones, or all of them if none is near."""
        return cls(f"unknown {what} {name!r}; {nearest(name, known)}")


class DataError(SkythawError, ValueError):
    """Cutouts, labels or tables can't be used."""


class WeightsError(SkythawError, RuntimeError):
    """Weights are missing, unreadable, or belong to another network."""


class CutError(SkythawError, ValueError):
    """A network can't be divided into blocks, or can't be cut at a depth."""


class LedgerError(SkythawError, RuntimeError):
    """A run folder is of another study, or can't be read."""


class BundleError(SkythawError, RuntimeError):
    """A saved classifier can't be read, or its parts do not belong together."""


class RemoteError(SkythawError, ConnectionError):
    """A service on the network does not answer, or not what it should."""


class OutputError(SkythawError, OSError):
    """A file or a folder can't be written."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of the `known` names was probably meant: ``did you mean 'x'?`` or ``known: 'x', 'y'``."""
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(map(repr, known)) if known else "none is known"
