"""Unpack wheels into a folder, but for packages that this Python has.

    python benchmarks/unpack_wheels.py FOLDER WHEEL ...

A machine without a network gets so what it lacks, and keeps what it has. Nothing is installed.
"""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def main(folder: str, *wheels: str) -> None:
    for wheel in map(Path, wheels):
        try:
            version(wheel.name.split("-")[0])
        except PackageNotFoundError:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
