"""At export: which training images a bundle keeps, and how far the validation images are from them."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image

from skythaw.bundle.bundle_file import REFERENCES, BundleDescription
from skythaw.bundle.classifier import Classifier
from skythaw.bundle.references import (
    DIMENSIONS,
    LONGEST_NAME,
    FeatureSpace,
    ReferenceImages,
    References,
    coordinates,
    to_bytes,
    unit,
)
from skythaw.data.cutouts import Cutouts
from skythaw.data.decode import BrokenImageError, decode, middle, require_checksum
from skythaw.data.split import nested_order, split
from skythaw.data.twins import decoded_digests, twin_groups
from skythaw.machine.files import plain_name
from skythaw.machine.numerics import numerics
from skythaw.report.figures.object_pictures import LARGEST, rendered
from skythaw.spec import Cell
from skythaw.tuning.thawed_network import ThawedNetwork

HELD = 1000
"""validation images, at most, whose distances are kept"""
TOGETHER = 256
"""images decoded at once"""
QUALITY = 90
"""of the JPEG thumbnails"""


def collect(model: ThawedNetwork, about: BundleDescription, cutouts: Cutouts, count: int) -> dict[str, bytes]:
    """The file of a bundle that holds training images.

    Parameters
    ----------
    model
        the network of the classifier, on the CPU; of several, the first
    about
        what its bundle says of itself
    cutouts
        the data on which its cell was trained
    count
        training images to keep, at most; the classes keep their proportion

    Returns
    -------
    dict
        content by name; the same for the same cell, byte for byte

    Raises
    ------
    DataError
        An image is not as it was in training.
    """
    cell = about.cell
    training, validation = rows_of(cell, cutouts)
    kept = training[:count]  # the classes take turns in it
    compared = validation[nested_order(cutouts.labels[validation], cell.seed)[:HELD]]
    own = copy.deepcopy(model).to(memory_format=torch.channels_last)
    classifier = Classifier(about.model_copy(update={"members": ()}), [own], torch.device("cpu"))
    with numerics(cell.recipe.threads, cell.seed, "cpu"):
        features = np.zeros((len(kept) + len(compared), about.features), np.float32)
        thumbnails = [b""] * len(kept)
        for numbers, crops in _crops(cutouts, np.concatenate([kept, compared]), cell.pixels.crop):
            features[numbers] = classifier.outputs(crops).features
            for number, crop in zip(numbers, crops, strict=True):
                if number < len(kept):
                    thumbnails[number] = thumbnail(crop, about)
    space = fit_space(features[: len(kept)], features[len(kept) :])
    ids = [plain_name(cutouts.object_ids[row])[:LONGEST_NAME] for row in kept]
    return {REFERENCES: to_bytes(space, ReferenceImages(ids, cutouts.labels[kept].tolist(), thumbnails), about.classes)}


def rows_of(cell: Cell, cutouts: Cutouts) -> tuple[np.ndarray, np.ndarray]:
    """The rows on which a cell was trained, in their order, and its validation rows, as `run_cell` divides them."""
    twins, basis = None, cell.split.twins
    if basis is not None:
        twins = twin_groups(cutouts, None if basis == "bytes" else decoded_digests(cutouts), basis)
    parts = split(
        cutouts,
        cell.split,
        usable=_usable(cutouts) if cell.skip_broken else None,
        external_test=cell.test_sha256 is not None,
        twins=twins,
    )
    pool = parts.train
    return pool[nested_order(cutouts.labels[pool], cell.seed)[: cell.train_size]], parts.validation


def fit_space(
    training: Float32[np.ndarray, "object feature"],
    validation: Float32[np.ndarray, "validation feature"],
) -> FeatureSpace:
    """The principal components of training features at unit length, and the coordinates of all images.

    There are at least four training images for each component.
    """
    x = unit(training)
    mean = x.mean(0)
    dimensions = max(1, min(DIMENSIONS, x.shape[1], len(x) // 4))
    axes = np.linalg.eigh((x - mean).T @ (x - mean))[1][:, ::-1][:, :dimensions]
    mean, basis = mean.astype(np.float32), np.ascontiguousarray(axes, np.float32)
    space = FeatureSpace(mean, basis, coordinates(training, mean, basis).astype(np.float32), np.zeros(1, np.float32))
    return FeatureSpace(mean, basis, space.training, References(space).distances(validation))


def _usable(cutouts: Cutouts) -> np.ndarray:
    """Whether each image can be used, bool [object], judged as `open_store` does."""
    return np.array([_decoded(*image) is not None for image in cutouts.images()], dtype=bool)


def _decoded(name: str, data: bytes, sha256: str) -> np.ndarray | None:
    try:
        require_checksum(data, sha256, name)
        return decode(data, name)
    except BrokenImageError:
        return None


def _crops(cutouts: Cutouts, rows: np.ndarray, side: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """The middles of some images [object, y, x, band], `TOGETHER` at a time, with their positions in `rows`."""
    wanted = {int(row): number for number, row in enumerate(rows)}
    numbers: list[int] = []
    crops: list[np.ndarray] = []
    for row, (name, data, sha256) in enumerate(cutouts.images()):
        if row in wanted:
            require_checksum(data, sha256, name)
            crops.append(middle(decode(data, name), side))
            numbers.append(wanted[row])
        if len(crops) == TOGETHER:
            yield numbers, np.stack(crops)
            numbers, crops = [], []
    if crops:
        yield numbers, np.stack(crops)


def thumbnail(crop: np.ndarray, about: BundleDescription) -> bytes:
    """What is kept of a training image to show it: a small JPEG file."""
    image = rendered(crop, about.expected.bands, about.cell.pixels)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
