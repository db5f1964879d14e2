"""Why a classifier answers as it does on one image: what is known of it, gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skythaw.bundle.classifier import Classifier
from skythaw.bundle.numbers_wanted import PLACE
from skythaw.bundle.references import Neighbour
from skythaw.data.decode import BrokenImageError, decode, probe
from skythaw.errors import DataError, UnknownNameError
from skythaw.explain.number_reasons import NumberReasons, number_reasons
from skythaw.explain.saliency_maps import grad_cam, occlusion
from skythaw.machine.files import plain_name
from skythaw.predict.image_contents import PARQUET, Content, ParquetRows
from skythaw.predict.object_numbers import columns_of, wanted_columns
from skythaw.report.figures.object_pictures import rendered

NEIGHBOURS = 6
FAR, EDGE = 99.0, 90.0
"""percentiles of validation beyond which an image counts as unlike the training images, or at their edge"""


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
    """a side, that Grad-CAM is made of: those of the network's last map of at least 7 x 7"""
    occlusion: np.ndarray
    """float32 [y, x], by how much the probability drops"""
    distance: float | None
    """to the training images; None where the bundle keeps none"""
    percentile: float | None
    """of validation images that are nearer to them"""
    neighbours: tuple[Neighbour, ...]
    """the nearest training images"""
    numbers: NumberReasons | None = None
    """what the numbers beside the image do; None of a classifier on images alone"""

    def __repr__(self) -> str:
        return f"Explanation of {self.name}: {self.label} with probability {self.p[self.label]:.3f}. {self.verdict}"

    @property
    def verdict(self) -> str:
        """How like the training images it is, in words."""
        if self.percentile is None:
            return "This bundle keeps no training images to compare with."
        return (
            f"{likeness(self.percentile)}: it is farther from them (distance {self.distance:.3g}) than "
            f"{self.percentile:.3g} % of the validation images are."
        )


def likeness(percentile: float) -> str:
    """How like the training images an image is that is farther from them than so many percent of validation.

    Examples
    --------
    >>> likeness(97.0)
    'At the edge of the training images'
    """
    if percentile > FAR:
        return "Unlike the training images"
    return "At the edge of the training images" if percentile > EDGE else "Like the training images"


def explain(
    classifier: Classifier, image: np.ndarray, name: str, label: str | None = None, given: np.ndarray | None = None
) -> Explanation:
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
    given
        the numbers that columns give of the object, float64 [given], where the classifier takes columns beside images
        and they are known: see `find_numbers`

    Raises
    ------
    DataError, UnknownNameError
        The image is none for this classifier; there is no such class; captum is not installed.
    """
    seen, about, references = classifier.of_images(image[None]), classifier.about, classifier.references
    p, reasons = seen.p[0], None
    if label is not None and label not in classifier.classes:
        raise UnknownNameError.among("class", label, classifier.classes)
    if half := classifier.numbers:
        values = half.wants.together(None if given is None else given[None], half.wants.measure(image[None]))
        log_p = np.asarray(seen.log_p)
        p = half.judge(log_p, values).p[0]
        reasons = number_reasons(classifier, log_p, values, label or classifier.classes[int(p.argmax())])
    label = label or classifier.classes[int(p.argmax())]
    distance = percentile = None
    neighbours: Sequence[Neighbour] = ()
    if references:
        distances = references.distances(seen.features)
        distance, percentile = float(distances[0]), float(references.percentiles(distances)[0])
        (neighbours,) = references.nearest(seen.features, NEIGHBOURS)
    return Explanation(
        name,
        np.asarray(rendered(image, about.expected.bands, about.cell.pixels)),
        dict(zip(classifier.classes, map(float, p), strict=True)),
        label,
        grad_cam(classifier, image, label),
        classifier.last_maps[0].side,
        occlusion(classifier, image, label),
        distance,
        percentile,
        tuple(neighbours),
        reasons,
    )


def find_image(given: str, classifier: Classifier) -> tuple[str, np.ndarray]:
    """The name and pixels [y, x, band] of the image that an argument names.

    Parameters
    ----------
    given
        an image file, or ``DATA.parquet:OBJECT_ID``
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


def find_numbers(given: str, name: str, classifier: Classifier, table: Path | None) -> np.ndarray | None:
    """The numbers that columns give of the object that an argument names, float64 [given]; None where there are none.

    Parameters
    ----------
    given, name
        the argument, and the object's name: see `find_image`
    classifier
        that is to be asked
    table
        a catalogue with the columns, joined by id; None: they are in the Parquet file of the images, if it is one

    Raises
    ------
    DataError, SpecError
        The catalogue lacks a column or the object; or the classifier takes no columns.
    """
    wants = wanted_columns(classifier.about, table)
    if wants is None:
        return None
    path = _parquet_of(given)
    if table is None and path is None:
        return None
    one = pa.table({"object_id": [name]})
    if path is not None:
        there = pq.read_schema(path).names
        if table is None and wants.lacking(there):
            return None
        wanted = tuple(each for each in PLACE if each in there) if table else wants.columns
        rows = ParquetRows.open(path)
        own = columns_of(rows, wanted).slice(rows.names.index(name).as_py(), 1)
        for each in wanted:
            one = one.append_column(each, own[each])
    return np.asarray(wants.given(one, table)[0][0])


def _content(given: str) -> tuple[str, Content]:
    if given.lower().endswith(PARQUET):
        raise DataError(f"{given} has many images: name one of them, as {given}:OBJECT_ID")
    path = _parquet_of(given)
    if path is None:
        return plain_name(Path(given).stem), Content(given)
    object_id = given[len(path) + 1 :]
    rows = ParquetRows.open(path)
    row = rows.names.index(object_id).as_py()
    if row < 0:
        first = rows.names[0].as_py() if len(rows.names) else "none"
        raise DataError(f"{path} has no object {object_id!r}; its first is {first}")
    return object_id, next(iter(rows.contents(row)))


def _parquet_of(given: str) -> str | None:
    """The Parquet file of ``DATA.parquet:OBJECT_ID``; None of any other argument."""
    lower = given.lower()
    place = max((lower.find(f"{ending}:") + len(ending) for ending in PARQUET if f"{ending}:" in lower), default=0)
    return given[:place] if place and not Path(given).exists() else None
