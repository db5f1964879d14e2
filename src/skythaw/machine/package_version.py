"""Which version of a package this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def version_of(package: str) -> str:
    """The version that is installed; ``unknown`` where a package, as skythaw's own source, is used without that."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
