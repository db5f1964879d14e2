"""What to give where a folder that was given is no bundle."""

from __future__ import annotations

import os
from pathlib import Path


def instead_of(missing: Path) -> str:
    """Where the classifier is, or how to make one, if `bundle.json` is missing in the folder of a tune or of a run."""
    folder, here = missing.parent, os.path.isfile  # which is no error where a folder may not be looked at
    if missing.name == "bundle.json" and here(folder / "classifier" / missing.name):
        return f"; its classifier is the folder {folder / 'classifier'}"
    if missing.name == "bundle.json" and here(folder / "ledger.sqlite"):
        return f"; it is a run folder, of which `skythaw export {folder} CLASSIFIER` makes one"
    return ""
