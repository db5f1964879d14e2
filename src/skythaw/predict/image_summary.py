"""What became of many images: of predictions, of the shards of a survey, of features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from skythaw.predict.prediction_rows import BY_NUMBERS, INPUTS, OK

NAMED = 1000
"""objects without features whose ids a summary has, at most"""


@dataclass(kw_only=True)
class ImageSummary:
    """What became of the images, whatever was asked of them."""

    objects: int = 0
    """with a row"""
    failed: Counter[str] = field(default_factory=Counter)
    """how many images could not be used, by reason"""
    passed_over: Mapping[str, str] = field(default_factory=dict, repr=False)
    """files of the folders that are no images -> why"""
    notes: tuple[str, ...] = ()
    """what the user should know: how numbers were found, what was done to images as was asked"""
    backend: str = ""
    """what the network ran on"""
    resumed: int = 0
    """how many were done before"""
    seconds: float = 0.0
    """in all"""
    computing: float = 0.0
    """seconds from the first image to the last, without the time in which the network is loaded; 0 where not known"""

    @property
    def rate(self) -> float:
        """Images per second, of those done now."""
        seconds = self.computing or self.seconds
        return (self.objects - self.resumed) / seconds if seconds else 0.0


@dataclass(kw_only=True)
class PredictSummary(ImageSummary):
    """What became of images that were predicted."""

    classes: Counter[str] = field(default_factory=Counter)
    """how many images have each label"""
    inputs: Counter[str] = field(default_factory=Counter)
    """of a bundle that takes numbers beside images: how many were judged by ``both``, ``images`` or ``table``"""
    without_image: Counter[str] = field(default_factory=Counter)
    """how many were judged by their numbers alone, by what was wrong with the image"""
    undone: Mapping[int, str] | None = None
    """of a folder of shards: why a shard is missing, by its number; the same call tries again"""

    @property
    def ok(self) -> int:
        return self.classes.total()

    def count(self, table: pa.Table) -> pa.Table:
        """Count some rows, and give them back."""
        self.objects += len(table)
        self.classes.update(label for label in table["label"].to_pylist() if label is not None)
        status = [each for each in table["status"].to_pylist() if each != OK]
        self.failed.update(each for each in status if not each.startswith(BY_NUMBERS))
        self.without_image.update(each.removeprefix(BY_NUMBERS) for each in status if each.startswith(BY_NUMBERS))
        if INPUTS in table.column_names:
            self.inputs.update(each for each in table[INPUTS].to_pylist() if each is not None)
        return table


@dataclass(kw_only=True)
class FeatureSummary(ImageSummary):
    """What became of images whose features were written."""

    network: str
    depth: int
    width: int = 0
    """how many features an object has"""
    unread: dict[str, str] = field(default_factory=dict, repr=False)
    """the first `NAMED` images without features, by their ids, and the reason of each"""

    @property
    def ok(self) -> int:
        return self.objects - self.failed.total()

    def count(self, table: pa.Table) -> pa.Table:
        """Count some rows, and give them back."""
        self.objects += len(table)
        for name, status in zip(table["object_id"].to_pylist(), table["status"].to_pylist(), strict=True):
            if status != OK:
                self.failed[status] += 1
                if len(self.unread) < NAMED:
                    self.unread[name] = status
        return table
