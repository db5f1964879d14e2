"""The training images that a bundle keeps: which of them are nearest to another image, and how far away they are.

The features of an image are scaled to unit length. Its coordinates are their first principal components (those of the
training images), and the length of what these components leave out, times `RESIDUAL`. Its distance is the distance to
its k-th nearest training image (Sun et al. 2022, "Out-of-distribution detection with deep nearest neighbors",
arXiv:2204.06507). The last coordinate tells more than the others (Wang et al. 2022, "ViM", arXiv:2203.10807). This
score was chosen among several by what `benchmarks/outliers.py` measures, on the same kinds of foreign images for which
it reports figures (docs/log.md); so these figures are too good.

Everything is in one safetensors file, because its reader is safe with any bytes; the reader of Parquet ends the process
on some. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from skythaw.bundle.bundle_file import REFERENCES, BundleDescription, plain_json, read_file
from skythaw.errors import BundleError

DIMENSIONS, RESIDUAL, K = 64, 3.0, 5
MOST = 50_000
"""training images in a bundle"""
LARGEST_IMAGE, LONGEST_NAME = 1 << 16, 1000
"""bytes of a thumbnail; letters of an id"""
LARGEST = 1 << 29
"""bytes of the file"""
LARGEST_NUMBER = 100.0
"""of a coordinate: features have unit length, so real ones are much smaller"""
SLICE = 256
"""images compared at once"""
NUMBERS = {"mean": 1, "basis": 2, "place": 2, "held": 1}
"""tensors of the file that make a `FeatureSpace`, with their dimensions"""
OTHERS = {"object_id": np.uint8, "label": np.int64, "image": np.uint8, "image_end": np.int64}
"""tensors of the file that make `ReferenceImages`, with their types"""


@dataclass(frozen=True)
class Neighbour:
    """A training image that is near to another image in the space of features."""

    object_id: str
    label: str
    distance: float
    image: bytes
    """the crop as the network saw it: a JPEG file. It comes from a bundle, so decode it with `skythaw.data.decode`"""


@dataclass(frozen=True)
class FeatureSpace:
    """Coordinates of images, made from their features."""

    mean: Float32[np.ndarray, " feature"]
    basis: Float32[np.ndarray, "feature component"]
    training: Float32[np.ndarray, "object coordinate"]
    """of the training images: components, and the length of what they leave out"""
    validation: Float32[np.ndarray, " validation"]
    """distances of the validation images"""

    def coordinates(self, features: Float32[np.ndarray, "object feature"]) -> Float64[np.ndarray, "object coordinate"]:
        """The coordinates of some images; in float64, so that their float32 do not depend on the images beside them."""
        return coordinates(features, self.mean, self.basis)


@dataclass(frozen=True)
class ReferenceImages:
    """What is kept of each training image beside its coordinates."""

    object_ids: list[str]
    labels: list[str]
    thumbnails: list[bytes]
    """JPEG files"""


class References:
    """Training images of a bundle: see the text of this module.

    Parameters
    ----------
    space
        with the coordinates of the training images
    images
        the images; None where only distances are wanted
    """

    def __init__(self, space: FeatureSpace, images: ReferenceImages | None = None) -> None:
        self.space, self.images = space, images or ReferenceImages([], [], [])
        self._training = space.training.astype(np.float64)
        self._squares = (self._training**2).sum(1)
        self._validation = np.sort(space.validation)

    def __len__(self) -> int:
        return len(self._training)

    def distances(self, features: Float32[np.ndarray, "object feature"]) -> Float32[np.ndarray, " object"]:
        """The distance of each image to its `K`-th nearest training image, from features of `Classifier.outputs`."""
        kth = min(K, len(self)) - 1
        parts = [np.partition(squares, kth, axis=1)[:, kth] for squares in self._compared(features)]
        return np.sqrt(np.concatenate([np.zeros(0), *parts])).astype(np.float32)

    def percentiles(self, distances: Float32[np.ndarray, " object"]) -> Float32[np.ndarray, " object"]:
        """The percentage of validation images that are nearer to the training images than each of these, 0 to 100."""
        below = np.searchsorted(self._validation, distances, "left")
        return (100 * below / len(self._validation)).astype(np.float32)

    def nearest(self, features: Float32[np.ndarray, "object feature"], count: int) -> list[list[Neighbour]]:
        """The nearest training images of each image, the nearest first, from the features of `Classifier.outputs`."""
        neighbours = []
        for squares in self._compared(features):
            for row in squares:
                order = np.argsort(row, kind="stable")[:count]
                neighbours.append([self._neighbour(int(i), float(np.sqrt(row[i]))) for i in order])
        return neighbours

    def _compared(self, features: np.ndarray) -> Iterator[np.ndarray]:
        """Squares of the distances to every training image, float64, some images at a time."""
        for start in range(0, len(features), SLICE):
            at = self.space.coordinates(features[start : start + SLICE])
            yield np.maximum((at**2).sum(1)[:, None] - 2 * at @ self._training.T + self._squares, 0)

    def _neighbour(self, row: int, distance: float) -> Neighbour:
        return Neighbour(self.images.object_ids[row], self.images.labels[row], distance, self.images.thumbnails[row])


def coordinates(features: np.ndarray, mean: np.ndarray, basis: np.ndarray) -> Float64[np.ndarray, "object coordinate"]:
    """Components of features at unit length, and the length of what they leave out, times `RESIDUAL`."""
    off = unit(features) - mean.astype(np.float64)
    inside = off @ basis.astype(np.float64)
    rest = np.sqrt(np.maximum((off**2).sum(1) - (inside**2).sum(1), 0))
    return np.column_stack([inside, RESIDUAL * rest])


def unit(features: np.ndarray) -> Float64[np.ndarray, "object feature"]:
    """Features at unit length; zeros stay zeros, and infinite features become NaN."""
    x = features.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def to_bytes(space: FeatureSpace, images: ReferenceImages, classes: tuple[str, ...]) -> bytes:
    """The content of the file; its tensors are named in `NUMBERS` and `OTHERS`."""
    from safetensors.numpy import save

    tensors = {"mean": space.mean, "basis": space.basis, "place": space.training, "held": space.validation}
    tensors["object_id"] = np.frombuffer(json.dumps(images.object_ids).encode(), np.uint8)
    tensors["label"] = np.array([classes.index(label) for label in images.labels], np.int64)
    tensors["image"] = np.frombuffer(b"".join(images.thumbnails), np.uint8)
    tensors["image_end"] = np.cumsum([len(thumbnail) for thumbnail in images.thumbnails], dtype=np.int64)
    return save(tensors)


def read_references(folder: Path, about: BundleDescription) -> References | None:
    """The training images of a bundle; None if it came without.

    Raises
    ------
    BundleError
        The file is gone, is not the one that the bundle was made with, or holds impossible values.
    """
    data = read_file(folder, about, REFERENCES, LARGEST)
    return None if data is None else from_bytes(data, about, Path(folder) / REFERENCES)


def from_bytes(data: bytes, about: BundleDescription, path: Path) -> References:
    """The training images that a file holds, which may come from anybody; raises `BundleError`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: dict[str, np.ndarray] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BundleError(f"can't read {path}: {error}") from None
    if odd := sorted(tensors.keys() ^ {*NUMBERS, *OTHERS}):
        names = ", ".join([*NUMBERS, *OTHERS])
        raise BundleError(f"{path}: the tensor {odd[0]!r} is missing or does not belong there; there should be {names}")
    space = _space({name: tensors[name] for name in NUMBERS}, about, path)
    try:
        images = _images({name: tensors[name] for name in OTHERS}, len(space.training), about.classes)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: {error}") from None
    return References(space, images)


def _space(tensors: dict[str, Any], about: BundleDescription, path: Path) -> FeatureSpace:
    """The numbers, if their types and shapes are right, and none is too large."""
    shapes = {name: value.shape for name, value in tensors.items()}
    if {name: len(shape) for name, shape in shapes.items()} != NUMBERS:
        raise BundleError(f"{path}: its tensors have the shapes {shapes}")
    (objects, number), (validation,) = shapes["place"], shapes["held"]
    right = ((about.features,), (about.features, number - 1))
    if (shapes["mean"], shapes["basis"]) != right or not 2 <= number <= DIMENSIONS + 1:
        raise BundleError(f"{path}: its tensors have the shapes {shapes}, of {about.features} features")
    if not (1 <= objects <= MOST and 1 <= validation <= MOST):
        raise BundleError(f"{path}: {objects} training and {validation} validation images; each should be 1 to {MOST}")
    for name, value in tensors.items():
        if value.dtype != np.float32 or not (np.abs(value) <= LARGEST_NUMBER).all():
            raise BundleError(f"{path}: {name} should be float32 numbers of at most {LARGEST_NUMBER:g}")
    return FeatureSpace(tensors["mean"], tensors["basis"], tensors["place"], tensors["held"])


def _images(tensors: dict[str, np.ndarray], rows: int, classes: tuple[str, ...]) -> ReferenceImages:
    """Ids, labels and thumbnails, if there is one of each for every row of coordinates; raises `ValueError`."""
    for name, kind in OTHERS.items():
        if tensors[name].dtype != kind or tensors[name].ndim != 1:
            raise ValueError(
                f"{name} should be a row of {np.dtype(kind)}, not {tensors[name].dtype} {tensors[name].shape}"
            )
    label, ends = tensors["label"], tensors["image_end"]
    if len(label) != rows or len(ends) != rows:
        raise ValueError(f"{len(label)} labels and {len(ends)} images for {rows} rows of coordinates")
    if label.min() < 0 or label.max() >= len(classes):
        raise ValueError(f"a label is none of the {len(classes)} classes")
    starts = np.concatenate([[0], ends[:-1]])
    if ends.min() < 0 or ends.max() > len(tensors["image"]) or not (ends - starts >= 0).all():
        raise ValueError("image_end points outside of the images")
    if (ends - starts).max() > LARGEST_IMAGE:
        raise ValueError(f"an image has more than {LARGEST_IMAGE} bytes")
    text = tensors["object_id"].tobytes()
    ids = plain_json(text) if len(text) <= rows * LONGEST_NAME else None
    if not isinstance(ids, list) or len(ids) != rows:
        raise ValueError(f"object_id should be a list of {rows} texts")
    if not all(isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME for name in ids):
        raise ValueError(f"each object_id should be a printable text of at most {LONGEST_NAME} letters")
    content = tensors["image"].tobytes()
    thumbnails = [content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return ReferenceImages(ids, [classes[number] for number in label.tolist()], thumbnails)
