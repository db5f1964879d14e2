"""Where the activations of a cell's cut are kept: a folder named after everything that decides their bits. No torch."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from skythaw.backbones.known_backbones import Preprocessing, backbone_of
from skythaw.machine.processor import processor
from skythaw.spec import Cell

FORMAT = 1


@dataclass(frozen=True)
class ActivationKey:
    """One cut of one network over one data set, in one precision."""

    cell: Cell
    """any of those that use it"""
    depth: int
    precision: str
    data_sha256: str
    device: str
    """`skythaw.machine.device.device_model`"""

    def folder(self, cache: Path) -> Path:
        """The folder of `skythaw.tuning.frozen.activation_files`."""
        cell = self.cell
        backbone = backbone_of(cell)
        preprocessing: Preprocessing = backbone.preprocessing
        of_file = [cell.weights.key] if cell.weights.key else []  # which set of weights, where a file has several
        content = {
            "format": FORMAT,
            "data": self.data_sha256,
            "pixels": cell.pixels.model_dump(mode="json"),
            "preprocessing": [preprocessing.mean, preprocessing.std],
            "network": [
                backbone.library,
                backbone.model,
                sorted(dict(backbone.options).items()),
                cell.weights_sha256,
                *of_file,
            ],
            "depth": self.depth,
            "precision": self.precision,
            "threads": cell.recipe.threads,
            "machine": [self.device, processor()],
            "versions": [version("torch"), version("timm")],
        }
        text = json.dumps(content, sort_keys=True)
        return activations_folder(cache) / hashlib.sha256(text.encode()).hexdigest()[:32]


def precision_of(cell: Cell, part: str, depth: int) -> str:
    """Scores are of float32, and so are pooled features; what is trained on is as the recipe says."""
    return cell.recipe.activations if part == "train" and depth else "float32"


def activations_folder(cache: Path) -> Path:
    """The folder for all kept activations."""
    return cache / "activations"


def used_bytes(folder: Path) -> int:
    """What a folder takes on the disk; its files are sparse."""
    found = 0
    for file in folder.rglob("*"):
        try:
            about = file.stat()
        except OSError:  # gone meanwhile
            continue
        found += about.st_blocks * 512 if hasattr(about, "st_blocks") else about.st_size
    return found


def evict(cache: Path, budget: int, needed: int, in_use: set[Path]) -> int:
    """Remove the activations used longest ago until `needed` bytes more keep to the budget; bytes that were freed.

    A process that still reads a removed folder goes on: its files live until it closes them.
    """
    root = activations_folder(cache)
    folders = [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []
    sizes = {folder: used_bytes(folder) for folder in folders}
    total, freed = sum(sizes.values()), 0
    for folder in sorted(set(folders) - in_use, key=_last_use):
        if total - freed + needed <= budget:
            break
        shutil.rmtree(folder, ignore_errors=True)
        freed += sizes[folder]
    return freed


def mark_used(folder: Path) -> None:
    """Remember that a folder is in use now."""
    try:
        (folder / "about.json").touch()
    except OSError:
        return


def _last_use(folder: Path) -> float:
    try:
        return (folder / "about.json").stat().st_mtime
    except OSError:
        return 0.0
