"""`load` a bundle, and predict images with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from skythaw.backbones.known_backbones import backbone_of
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import RANDOM
from skythaw.bundle.bundle_file import WEIGHTS, BundleDescription, read_about
from skythaw.bundle.bundle_weights import fill, require_own
from skythaw.bundle.references import References, read_references
from skythaw.data.decode import BrokenImageError, decode
from skythaw.data.image_form import Form
from skythaw.errors import BundleError, DataError, SkythawError
from skythaw.machine.device import find_device
from skythaw.stats.calibration import tempered
from skythaw.tuning.labelled_images import LabelledImages
from skythaw.tuning.thawed_network import ThawedNetwork, assemble
from skythaw.tuning.training_loop import seen

BATCH = 256
"""images that go through the network at once"""


@dataclass(frozen=True)
class ClassifierOutput:
    """What a classifier gives for some images."""

    p: Float32[np.ndarray, "object class"]
    """the probability of each class"""
    features: Float32[np.ndarray, "object feature"]
    """the input of the head: the last map of the network, averaged over the image"""


class Classifier:
    """A fine-tuned classifier from a bundle.

    Attributes
    ----------
    about
        what the bundle says of itself
    model
        the network, in evaluation mode
    device
        where it runs
    references
        training images with which others are compared; None if the bundle keeps none
    """

    def __init__(
        self, about: BundleDescription, model: ThawedNetwork, device: torch.device, references: References | None = None
    ) -> None:
        self.about, self.model, self.device, self.references = about, model, device, references

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.about.classes

    def predict(
        self, images: np.ndarray | Sequence[bytes | str | Path | np.ndarray], *, calibrated: bool = True
    ) -> Float32[np.ndarray, "object class"]:
        """The probability of each class for some images.

        Parameters
        ----------
        images
            pixels [object, y, x, band], uint8 or float32 as in training, rows from the top; or a list of such images,
            of the names of JPEG, PNG or FITS files, or of the content of such files
        calibrated
            use the temperature that was fitted on the validation set; else the network's own probabilities

        Returns
        -------
        numpy.ndarray
            float32 [object, class]; each row sums to 1

        Raises
        ------
        DataError
            An image can't be read, is not square, is smaller than the crop, or has other bands or values than the
            training images.
        """
        return self.outputs(images, calibrated=calibrated).p

    def outputs(
        self, images: np.ndarray | Sequence[bytes | str | Path | np.ndarray], *, calibrated: bool = True
    ) -> ClassifierOutput:
        """The probabilities of `predict`, and the features from which they come."""
        stack = images if isinstance(images, np.ndarray) else self._stack(images)
        self.about.require(Form(stack.shape[1:3], self._names(stack.shape[-1]), str(stack.dtype)))  # type: ignore[arg-type]
        if not len(stack):
            return ClassifierOutput(
                np.zeros((0, len(self.classes)), np.float32), np.zeros((0, self.about.features), np.float32)
            )
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
        log_p, features = map(np.concatenate, zip(*seen(self.model, feed, self.about.cell.recipe), strict=True))
        p = np.exp(tempered(log_p, self.about.temperature)).astype(np.float32) if calibrated else np.exp(log_p)
        return ClassifierOutput(p, features)

    def _names(self, count: int) -> tuple[str, ...]:
        """Names for the bands of an array: those of the training images, if their number is the same."""
        expected = self.about.expected.bands
        return expected if count == len(expected) else tuple(map(str, range(count)))

    def _stack(self, images: Iterable[bytes | str | Path | np.ndarray]) -> np.ndarray:
        """One array of images; files are read and decoded."""
        arrays = [image if isinstance(image, np.ndarray) else _decoded(image, i) for i, image in enumerate(images)]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            names = ", ".join(map(str, sorted(shapes)[:4]))
            raise DataError(f"the images have {len(shapes)} shapes ({names}); give images of one shape")
        side, bands = self.about.cell.pixels.crop, len(self.about.expected.bands)
        return np.stack(arrays) if arrays else np.zeros((0, side, side, bands), self.about.expected.dtype)


def load(bundle: Path | str, *, device: str = "auto") -> Classifier:
    """Load a bundle: see `skythaw.load`."""
    folder = Path(bundle)
    about, runs_on = read_about(folder), find_device(device)
    require_own(folder / WEIGHTS, about)
    references = read_references(folder, about)
    model = make_model(about)
    fill(named_tensors(model), folder / WEIGHTS)
    model = model.to(runs_on).to(memory_format=torch.channels_last)
    model.network.eval()
    model.head.eval()
    return Classifier(about, model, runs_on, references)


def make_model(about: BundleDescription) -> ThawedNetwork:
    """The network of a bundle, cut as in training; its weights are filled in later."""
    cell = about.cell
    try:
        network = build(backbone_of(cell), RANDOM)
    except SkythawError:
        raise
    except Exception as error:  # a library raises anything where its options are wrong
        raise BundleError(f"{cell.backbone} can't be built as the bundle says: {error!r}") from None
    if (len(network.blocks), network.channels) != (about.blocks, about.features):
        raise BundleError(
            f"{cell.backbone} has {len(network.blocks)} blocks and {network.channels} features here, "
            f"{about.blocks} and {about.features} in the bundle: it was made with another version of its library"
        )
    return assemble(network, cell, len(about.classes))


def named_tensors(model: ThawedNetwork) -> dict[str, Tensor]:
    """Every weight of a classifier, by the name it has in a bundle."""
    state = {f"features.{name}": tensor for name, tensor in model.network.features.state_dict().items()}
    return state | {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}


def _decoded(image: bytes | str | Path, number: int) -> np.ndarray:
    name = f"image {number}" if isinstance(image, bytes) else str(image)
    try:
        return decode(image if isinstance(image, bytes) else Path(image).read_bytes(), name)
    except BrokenImageError as error:
        raise DataError(f"{name} can't be read: {error.reason}") from None
    except OSError as error:
        raise DataError(f"{name} can't be read: {error.strerror or error}") from None
