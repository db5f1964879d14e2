"""Why a classifier answers as it does on one image: what is known of it, gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skythaw.bundle.classifier import Classifier
from skythaw.bundle.references import Neighbour
from skythaw.data.decode import BrokenImageError, decode, probe
from skythaw.errors import DataError
from skythaw.explain.saliency_maps import grad_cam, map_side, occlusion
from skythaw.machine.files import plain_name
from skythaw.predict.image_contents import PARQUET, Content, ParquetRows
from skythaw.report.figures.object_pictures import rendered

NEIGHBOURS = 6
FAR = 99.0
"""percentile of validation beyond which an image counts as unlike the training images"""


@dataclass(frozen=True)
class Explanation:
    """What is known of a classifier's answer on one image."""

    name: str
    """of the image"""
    picture: np.ndarray
    """uint8 [y, x, (red, green, blue)]: the crop, in the bands and brightness that the network sees"""
    p: dict[str, float]
    """the probability of each class"""
    label: str
    """the class that the maps are of"""
    grad_cam: np.ndarray
    """float32 [y, x], 0 to 1"""
    cells: int
    """a side, that Grad-CAM is made of: those of the network's last map"""
    occlusion: np.ndarray
    """float32 [y, x], by how much the probability drops"""
    distance: float | None
    """to the training images; None where the bundle keeps none"""
    percentile: float | None
    """of validation images that are nearer to them"""
    neighbours: tuple[Neighbour, ...]
    """the nearest training images"""

    @property
    def verdict(self) -> str:
        """How like the training images it is, in words."""
        if self.percentile is None:
            return "This bundle keeps no training images to compare with."
        how = "Unlike the training images" if self.percentile > FAR else "Like the training images"
        return (
            f"{how}: it is farther from them (distance {self.distance:.3g}) than {self.percentile:.3g} % of the "
            "validation images are."
        )


def explain(classifier: Classifier, image: np.ndarray, name: str, label: str | None = None) -> Explanation:
    """Ask a classifier about an image, and why.

    Parameters
    ----------
    classifier
        from a bundle
    image
        [y, x, band], as the classifier takes it
    name
        what to call it
    label
        the class to explain; by default, the most probable

    Raises
    ------
    DataError, UnknownNameError
        The image is none for this classifier; there is no such class; captum is not installed.
    """
    seen, about, references = classifier.outputs(image[None]), classifier.about, classifier.references
    label = label or classifier.classes[int(seen.p[0].argmax())]
    distance = percentile = None
    neighbours: Sequence[Neighbour] = ()
    if references:
        distances = references.distances(seen.features)
        distance, percentile = float(distances[0]), float(references.percentiles(distances)[0])
        (neighbours,) = references.nearest(seen.features, NEIGHBOURS)
    return Explanation(
        name,
        np.asarray(rendered(image, about.expected.bands, about.cell.pixels)),
        dict(zip(classifier.classes, map(float, seen.p[0]), strict=True)),
        label,
        grad_cam(classifier, image, label),
        map_side(classifier),
        occlusion(classifier, image, label),
        distance,
        percentile,
        tuple(neighbours),
    )


def find_image(given: str, classifier: Classifier) -> tuple[str, np.ndarray]:
    """The name and pixels [y, x, band] of the image that an argument names.

    Parameters
    ----------
    given
        a JPEG, PNG or FITS file, or ``DATA.parquet:OBJECT_ID``
    classifier
        that is to be asked about it

    Raises
    ------
    DataError
        There is no such file or object; it can't be read; it is no image for this classifier.
    """
    name, content = _content(given)
    try:
        data = content.read()
        classifier.about.require(probe(data))
        return name, decode(data, name)
    except BrokenImageError as error:
        raise DataError(f"{given} can't be read: {error.reason}") from None


def _content(given: str) -> tuple[str, Content]:
    lower = given.lower()
    if lower.endswith(PARQUET):
        raise DataError(f"{given} has many images: name one of them, as {given}:OBJECT_ID")
    place = max((lower.find(f"{ending}:") + len(ending) for ending in PARQUET if f"{ending}:" in lower), default=0)
    if not place or Path(given).exists():
        return plain_name(Path(given).stem), Content(given)
    path, object_id = given[:place], given[place + 1 :]
    rows = ParquetRows.open(path)
    row = rows.names.index(object_id).as_py()
    if row < 0:
        first = rows.names[0].as_py() if len(rows.names) else "none"
        raise DataError(f"{path} has no object {object_id!r}; its first is {first}")
    return object_id, next(iter(rows.contents(row)))
