"""The training images that a bundle keeps to compare others with: the nearest of them, and how far away they are.

An image's place is its features at unit length, on the first principal components of the training images', and the
length of what these leave out, times `RESIDUAL`. Its distance is that to its k-th nearest training image (Sun et al.
2022, "Out-of-distribution detection with deep nearest neighbors", arXiv:2204.06507); what the components leave out
tells more than they do (Wang et al. 2022, "ViM", arXiv:2203.10807). Measured by `benchmarks/outliers.py`.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float32, Float64

from skythaw.errors import BundleError
from skythaw.serving.bundle import About, read_file

REFERENCES, SPACE = "references.parquet", "references.safetensors"
"""Ids, labels and thumbnails; and the space of features with their places in it."""
DIMENSIONS, RESIDUAL, K = 64, 3.0, 5
MOST = 50_000
"""training images in a bundle"""
LARGEST_IMAGE, LONGEST_NAME = 1 << 16, 1000
"""bytes of a thumbnail; of an id or label"""
LARGEST = {REFERENCES: 1 << 29, SPACE: 1 << 26}
"""bytes"""
SLICE = 256
"""images compared at once"""
COLUMNS = ("object_id", "label", "image")


@dataclass(frozen=True)
class Neighbour:
    """A training image that is near to another in the space of features."""

    object_id: str
    label: str
    distance: float
    image: bytes
    """the crop as the network saw it: a JPEG file, from a bundle, so to be decoded with `skythaw.data.images.decode`"""


@dataclass(frozen=True)
class Space:
    """Where images lie by their features."""

    mean: Float32[np.ndarray, " feature"]
    basis: Float32[np.ndarray, "feature component"]
    place: Float32[np.ndarray, "object coordinate"]
    """of the training images: components, and what they leave out"""
    held: Float32[np.ndarray, " validation"]
    """distances of images of validation"""

    def locate(self, features: Float32[np.ndarray, "object feature"]) -> Float64[np.ndarray, "object coordinate"]:
        """The places of some images.

        In float64, so that their float32 doesn't depend on the images beside them.
        """
        return locate(features, self.mean, self.basis)


class References:
    """Training images of a bundle: see the module's text.

    Parameters
    ----------
    space
        with the places of the training images
    table
        `object_id`, `label` and `image` of each
    """

    def __init__(self, space: Space, table: pa.Table) -> None:
        self.space, self.table = space, table
        self._known = space.place.astype(np.float64)
        self._squares = (self._known**2).sum(1)
        self._held = np.sort(space.held)

    def __len__(self) -> int:
        return len(self._known)

    def distances(self, features: Float32[np.ndarray, "object feature"]) -> Float32[np.ndarray, " object"]:
        """The distance of each image to its `K`-th nearest training image, from `Classifier.see`'s features."""
        kth = min(K, len(self)) - 1
        found = [np.partition(squares, kth, axis=1)[:, kth] for squares in self._compared(features)]
        return np.sqrt(np.concatenate([np.zeros(0), *found])).astype(np.float32)

    def percentiles(self, distances: Float32[np.ndarray, " object"]) -> Float32[np.ndarray, " object"]:
        """The share of validation images that are nearer to training than each of these, 0 to 100."""
        below = np.searchsorted(self._held, distances, "left")
        return (100 * below / len(self._held)).astype(np.float32)

    def nearest(self, features: Float32[np.ndarray, "object feature"], count: int) -> list[list[Neighbour]]:
        """The nearest training images of each image, the nearest first, from `Classifier.see`'s features."""
        found = []
        for squares in self._compared(features):
            for row in squares:
                order = np.argsort(row, kind="stable")[:count]
                found.append([self._neighbour(int(i), float(np.sqrt(row[i]))) for i in order])
        return found

    def _compared(self, features: np.ndarray) -> Iterator[np.ndarray]:
        """Squares of the distances to every training image, float64, some images at a time."""
        for start in range(0, len(features), SLICE):
            at = self.space.locate(features[start : start + SLICE])
            yield np.maximum((at**2).sum(1)[:, None] - 2 * at @ self._known.T + self._squares, 0)

    def _neighbour(self, row: int, distance: float) -> Neighbour:
        object_id, label, image = (self.table[name][row].as_py() for name in COLUMNS)
        return Neighbour(object_id, label, distance, image)


def locate(features: np.ndarray, mean: np.ndarray, basis: np.ndarray) -> Float64[np.ndarray, "object coordinate"]:
    """Components of features at unit length, and the length of what they leave out times `RESIDUAL`."""
    off = unit(features) - mean.astype(np.float64)
    inside = off @ basis.astype(np.float64)
    rest = np.sqrt(np.maximum((off**2).sum(1) - (inside**2).sum(1), 0))
    return np.column_stack([inside, RESIDUAL * rest])


def unit(features: np.ndarray) -> Float64[np.ndarray, "object feature"]:
    """Features at unit length; zeros stay zeros."""
    x = features.astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def read_references(folder: Path, about: About) -> References | None:
    """The training images of a bundle; None if it came without.

    Raises
    ------
    BundleError
        A file is gone, is not the one that the bundle was made with, or holds what can't be.
    """
    if not about.references:
        return None
    files = {name: read_file(folder, about, name, largest) for name, largest in LARGEST.items()}
    for name, data in files.items():
        if data is None:
            raise BundleError(f"{folder} has no {name}, which belongs to its other file of training images")
    space = _space(files[SPACE] or b"", about, Path(folder) / SPACE)
    return References(space, _table(files[REFERENCES] or b"", len(space.place), about, Path(folder) / REFERENCES))


def _space(data: bytes, about: About, path: Path) -> Space:
    """The numbers, if they are of the right names, types and shapes, and finite."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found: dict[str, Any] = load(data)
        space = Space(**found)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"can't read {path}: {error}") from None
    shapes = {name: value.shape for name, value in found.items()}
    if [len(shapes[name]) for name in ("mean", "basis", "place", "held")] != [1, 2, 2, 1]:
        raise BundleError(f"{path}: its tensors have the shapes {shapes}")
    (objects, coordinates), (held,) = space.place.shape, space.held.shape
    wanted = ((about.features,), (about.features, coordinates - 1))
    if (space.mean.shape, space.basis.shape) != wanted or not 2 <= coordinates <= DIMENSIONS + 1:
        raise BundleError(f"{path}: its tensors have the shapes {shapes}, of {about.features} features")
    if not (1 <= objects <= MOST and 1 <= held <= MOST):
        raise BundleError(f"{path}: {objects} training and {held} validation images; both should be 1 to {MOST}")
    for name, value in found.items():
        if value.dtype != np.float32 or not np.isfinite(value).all():
            raise BundleError(f"{path}: {name} should be finite float32 numbers")
    return space


def _table(data: bytes, rows: int, about: About, path: Path) -> pa.Table:
    """Ids, labels and thumbnails. Columns stay as dictionaries: so a short file can't fill the memory."""
    try:
        with pq.ParquetFile(pa.BufferReader(data), read_dictionary=list(COLUMNS)) as file:
            _require_plain(file, rows, path)
            table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BundleError(f"can't read {path} as Parquet: {str(error).partition(chr(10))[0]}") from None
    for name, kind, longest in zip(
        COLUMNS, (pa.string(), pa.string(), pa.binary()), (LONGEST_NAME, LONGEST_NAME, LARGEST_IMAGE), strict=True
    ):
        column = table[name]
        if column.type != pa.dictionary(pa.int32(), kind) or column.null_count:
            raise BundleError(f"{path}: column {name!r} is {column.type} with {column.null_count} nulls, not {kind}")
        for chunk in column.chunks:
            if (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0) > longest:
                raise BundleError(f"{path}: an entry of column {name!r} has more than {longest} bytes")
    labels = {label for chunk in table["label"].chunks for label in chunk.dictionary.to_pylist()}
    if odd := sorted(labels - set(about.classes)):
        raise BundleError(f"{path}: label {odd[0]!r} is none of {', '.join(about.classes)}")
    return table


def _require_plain(file: pq.ParquetFile, rows: int, path: Path) -> None:
    about, names = file.metadata, tuple(file.schema_arrow.names)
    if names != COLUMNS or about.num_rows != rows or about.num_columns != len(COLUMNS):
        raise BundleError(
            f"{path} has {about.num_rows} rows and the columns {', '.join(names)}; there should be {rows} rows, and "
            f"{', '.join(COLUMNS)}"
        )
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    if any(group.column(i).compression != "UNCOMPRESSED" for group in groups for i in range(len(COLUMNS))):
        raise BundleError(f"{path} is compressed; those of bundles are not")
