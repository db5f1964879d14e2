"""`load` a bundle, and predict images with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from skythaw.backbones.last_map import LastMap, last_map
from skythaw.bundle.bundle_file import WEIGHTS, BundleDescription, read_about
from skythaw.bundle.bundle_weights import read_model, require_own
from skythaw.bundle.given_images import GivenImages, read_given
from skythaw.bundle.hub_bundle import bundle_folder
from skythaw.bundle.members import mean_of_networks, weight_files
from skythaw.bundle.number_half import NEITHER, NumberHalf, read_number_half
from skythaw.bundle.predicted import PredictedClasses
from skythaw.bundle.probabilities import are_probabilities
from skythaw.bundle.references import References, read_references
from skythaw.bundle.table_given import Table, columns_given
from skythaw.data.decode import BrokenImageError, decode
from skythaw.data.image_form import Form
from skythaw.errors import DataError
from skythaw.machine.device import find_device
from skythaw.stats.calibration import tempered
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.thawed_network import ThawedNetwork
from skythaw.tuning.training_loop import seen

BATCH = 256
"""images that go through the network at once"""


@dataclass(frozen=True)
class ClassifierOutput:
    """What a classifier gives for some images."""

    p: Float32[np.ndarray, "object class"]
    """the probability of each class"""
    features: Float32[np.ndarray, "object feature"]
    """the input of the head: the last map of the (first) network, averaged over the image; NaN where there is none"""
    inputs: np.ndarray | None = None
    """text [object], of a classifier that takes numbers beside images: ``both``, ``images`` or ``table``, whatever was
    there of an object"""
    log_p: np.ndarray | None = None
    """of the network, or of the mean of networks, float [object, class]; None where torch did not run it"""


class Classifier:
    """A fine-tuned classifier from a bundle.

    Attributes
    ----------
    about
        what the bundle says of itself
    model
        the network, in evaluation mode; of several, the first
    models
        all networks: several where their mean is the answer
    device
        where it runs
    references
        training images with which others are compared; None if the bundle keeps none
    numbers
        what judges by numbers beside the image; None if it takes images alone
    """

    def __init__(
        self,
        about: BundleDescription,
        models: Sequence[ThawedNetwork],
        device: torch.device,
        references: References | None = None,
        numbers: NumberHalf | None = None,
    ) -> None:
        self.about, self.models, self.device, self.references, self.numbers = about, models, device, references, numbers
        self.model = models[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.about.classes

    @cached_property
    def last_maps(self) -> list[LastMap]:
        """Where in each network the last map with places in it lies."""
        pixels, found = self.about.cell.pixels, []
        image = torch.zeros(1, pixels.inputs, pixels.size, pixels.size, device=self.device)
        for model in self.models:
            with model.evaluating():
                found.append(last_map(model.network, image))
        return found

    def predict(self, images: Any, *, table: Table | None = None, calibrated: bool = True) -> PredictedClasses:
        """The probability of each class for some images, one row for each.

        Parameters
        ----------
        images
            the name of an image file (see `skythaw.data.decode`), of a folder of them, or of a Parquet file of cutouts;
            pixels [object, y, x, band] or of one image, with the values of training, rows from the top; a torch tensor,
            which may have the bands before y and x; a PIL image; a list or a column of names, contents of files or
            images; or a table of pandas, astropy or Arrow with a column ``image`` or ``file`` of these. None in a list
            is an object without an image, where the classifier takes numbers, too
        table
            of a classifier that takes columns of numbers beside images: a table that gives a column for its name (a
            dictionary of arrays, or a table of pandas, astropy or Arrow), one row for each image. A missing number is
            NaN. An object without numbers is judged by its image alone. By default the table that `images` is,
            or the columns of its Parquet file
        calibrated
            use the temperature that was fitted on the validation set; else the network's own probabilities

        Returns
        -------
        PredictedClasses
            an array, float32 [object, class], that knows the ``ids`` and ``labels`` of its rows; ``.table()`` makes a
            table of it. Each row sums to 1; NaN where there is neither image nor number

        Raises
        ------
        DataError
            An image can't be read, is smaller than the crop, or has other bands or values than the training images; or
            the table lacks a column, has another number of rows, or holds what is no number.
        """
        given = read_given(images, self.about.expected)
        if len(given.images) <= BATCH or self.numbers is not None:
            found = self._outputs(given, self._beside(given, table), calibrated=calibrated)
            return PredictedClasses.of(found.p, given.ids, self.classes, found.inputs)
        step = self.about.cell.recipe.batch * max(1, BATCH // self.about.cell.recipe.batch)
        parts = [given.part(start, start + step) for start in range(0, len(given.images), step)]
        p = np.concatenate([self._outputs(part, table, calibrated=calibrated).p for part in parts])  # some at a time
        return PredictedClasses.of(p, given.ids, self.classes)

    def predict_proba(self, images: Any, *, table: Table | None = None) -> Float32[np.ndarray, "object class"]:
        """The probabilities of `predict` as a plain array, the columns in the order of `classes`."""
        return np.asarray(self.predict(images, table=table))

    def __repr__(self) -> str:
        about = self.about
        network = f"the mean of {len(self.models)} {about.cell.backbone}" if about.members else about.cell.backbone
        return (
            f"Classifier {about.name}: {network} with {about.cell.depth} of {about.blocks} blocks trained; "
            f"classes {', '.join(self.classes)}"
        )

    def outputs(self, images: Any, *, table: Table | None = None, calibrated: bool = True) -> ClassifierOutput:
        """The probabilities of `predict`, the features from which they come, and what was there of each object."""
        if isinstance(images, np.ndarray):
            counted = GivenImages(images, tuple(map(str, range(len(images)))))
            return self._outputs(counted, table, calibrated=calibrated)
        given = read_given(images, self.about.expected)
        return self._outputs(given, self._beside(given, table), calibrated=calibrated)

    def _beside(self, given: GivenImages, table: Table | None) -> Table | None:
        """The table of the numbers: by default that in which the images are, if it has one of the columns."""
        if table is not None or self.numbers is None:
            return table
        found: Table | None = given.numbers(self.numbers.wants.columns)
        return found

    def _outputs(self, given: GivenImages, table: Table | None, *, calibrated: bool) -> ClassifierOutput:
        there = np.array([image is not None for image in given.images], dtype=bool)
        stack = given.images if isinstance(given.images, np.ndarray) else self._stack(given)
        if self.numbers is None:
            if table is not None:
                raise DataError("this classifier takes images alone, and a table was given beside them")
            if not there.all():
                raise DataError(f"{given.title(int(there.argmin()))} is None, and this classifier takes images alone")
            found = self.of_images(stack, calibrated=calibrated)
            require_probabilities(found.p, given.first + np.arange(len(there)))
            return found
        log_p, features = self.network_output(stack)
        columns = None if table is None else columns_given(self.numbers.wants, table, len(there))
        values = self.numbers.wants.together(columns, placed(self.numbers.wants.measure(stack), there))
        answer = self.numbers.judge(placed(log_p, there), values, calibrated=calibrated)
        known = np.flatnonzero(answer.inputs != NEITHER)
        require_probabilities(answer.p[known], known)
        return ClassifierOutput(answer.p, placed(features, there), answer.inputs)

    def of_images(self, stack: np.ndarray, *, calibrated: bool = True) -> ClassifierOutput:
        """The answer of the network alone, of pixels [object, y, x, band]."""
        log_p, features = self.network_output(stack)
        p = np.exp(tempered(log_p, self.about.temperature)).astype(np.float32) if calibrated else np.exp(log_p)
        return ClassifierOutput(p, features, log_p=log_p)

    def network_output(
        self, stack: np.ndarray
    ) -> tuple[Float32[np.ndarray, "object class"], Float32[np.ndarray, "object feature"]]:
        """The network's own log-probabilities, and features, of pixels [object, y, x, band]; raises as `predict`."""
        self.about.require(Form(stack.shape[1:3], self._names(stack.shape[-1]), str(stack.dtype)))  # type: ignore[arg-type]
        if not len(stack):
            return np.zeros((0, len(self.classes)), np.float32), np.zeros((0, self.about.features), np.float32)
        expected = self.about.expected
        feed = LabelledImages(
            stack,
            np.arange(len(stack)),
            np.zeros(len(stack), np.int64),
            self.about.cell.pixels,
            expected.mean,
            expected.std,
            self.device,
            bands=expected.bands,
        )
        recipe = self.about.cell.recipe
        of_each = [list(map(np.concatenate, zip(*seen(model, feed, recipe), strict=True))) for model in self.models]
        log_p, features = of_each[0]
        if self.about.members:
            log_p = mean_of_networks([each[0] for each in of_each], self.about.members)
        return log_p, features

    def _names(self, count: int) -> tuple[str, ...]:
        """Names for the bands of an array: those of the training images, if their number is the same."""
        expected = self.about.expected.bands
        return expected if count == len(expected) else tuple(map(str, range(count)))

    def _stack(self, given: GivenImages) -> np.ndarray:
        """One array of the images that are there; files are read and decoded."""
        arrays = [
            image if isinstance(image, np.ndarray) else decoded(image, given.title(row))
            for row, image in enumerate(given.images)
            if image is not None
        ]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            names = ", ".join(map(str, sorted(shapes)[:4]))
            raise DataError(f"the images have {len(shapes)} shapes ({names}); give images of one shape")
        side, bands = self.about.cell.pixels.crop, len(self.about.expected.bands)
        return np.stack(arrays) if arrays else np.zeros((0, side, side, bands), self.about.expected.dtype)


def load(bundle: Path | str, *, device: str = "auto") -> Classifier:
    """Open a bundle: a fine-tuned classifier that `skythaw export` wrote.

    Parameters
    ----------
    bundle
        its folder; or ``hf://owner/name`` or ``hf://owner/name@revision`` on the Hugging Face Hub
    device
        ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``

    Returns
    -------
    Classifier
        ``classifier.predict(images)`` gives probabilities [object, class]

    Raises
    ------
    BundleError
        It is no bundle, is damaged, or its parts do not belong together.
    RemoteError
        The Hub can't be reached, or has no such bundle.
    """
    folder = bundle_folder(bundle)
    about, runs_on = read_about(folder), find_device(device)
    files = weight_files(WEIGHTS, about.members)
    for name in files:
        require_own(folder / name, about)
    references, numbers = read_references(folder, about), read_number_half(folder, about)
    models = [read_model(folder, name, about, runs_on) for name in files]
    return Classifier(about, models, runs_on, references, numbers)


def require_probabilities(p: Float32[np.ndarray, "object class"], rows: np.ndarray | None = None) -> None:
    """Raise `DataError` unless every row (of these numbers) holds probabilities: finite, from 0 to 1, and 1 in all."""
    if not (right := are_probabilities(p)).all():
        first, count = int(right.argmin()), int((~right).sum())
        row = first if rows is None else rows[first]
        raise DataError(
            f"the classifier gives {p[first].tolist()} for object {row}, which are no probabilities ({count} of "
            f"{len(p)} objects): the values of the images are too large, or the classifier is damaged"
        )


def placed(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Rows of those objects of which something is there, among all; NaN in the others."""
    if there.all():
        return values
    found = np.full((len(there), values.shape[1]), np.nan, values.dtype)
    found[there] = values
    return found


def decoded(image: bytes | str | Path, title: str) -> np.ndarray:
    """The pixels of a file, by its name, or its content of that title; raises `DataError` where it can't be read."""
    name = title if isinstance(image, bytes) else str(image)
    try:
        return decode(image if isinstance(image, bytes) else Path(image).read_bytes(), name)
    except BrokenImageError as error:
        raise DataError(f"{name} can't be read: {error.reason}") from None
    except OSError as error:
        raise DataError(f"{name} can't be read: {error.strerror or error}") from None
