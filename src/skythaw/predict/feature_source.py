"""Where features come from: a bundle, or a network by its name with weights of its own, at a depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from skythaw.backbones.fold_batchnorm import fold
from skythaw.backbones.known_backbones import Backbone, Preprocessing, backbone, chosen
from skythaw.backbones.network import build
from skythaw.backbones.pretrained_weights import Weights, locate
from skythaw.bundle.bundle_file import BundleDescription, Expected, read_about
from skythaw.bundle.classifier import load
from skythaw.bundle.hub_bundle import bundle_folder
from skythaw.data.decode import BrokenImageError, probe
from skythaw.data.image_form import Form
from skythaw.errors import DataError, SpecError, UnknownNameError
from skythaw.machine.device import find_device
from skythaw.machine.hub_repository import is_hub_address
from skythaw.machine.package_version import version_of
from skythaw.predict.feature_network import STEP, FeatureNetwork, LastFeatures, features_at, require_depth
from skythaw.predict.find_inputs import Inputs
from skythaw.predict.in_threads import Item
from skythaw.predict.predict_images import TRIED, PredictSettings, begin
from skythaw.predict.prediction_files import UnfinishedPrediction
from skythaw.spec import Pixels, WeightsChoice
from skythaw.spec.pixel_settings import Stretch
from skythaw.spec.validation_message import one_line
from skythaw.study.study_networks import alone
from skythaw.tuning.labelled_images import LabelledImages

SCHEMA = 1
Opened = tuple[FeatureNetwork, Iterator[Item]]


@dataclass(frozen=True)
class FeatureChoice:
    """Of which network features are wanted, and where in it."""

    network: str
    """the folder of a bundle, ``hf://owner/name``, or the name of a backbone"""
    depth: int = 0
    """blocks that are left out, from the top"""
    weights: WeightsChoice | None = None
    """of a backbone; None: the official ones"""
    crop: int | None = None
    """of a backbone: pixels cut from the centre; None: as many as the first image has"""
    input_size: int | None = None
    """of a backbone: pixels a side that it gets; None: as in the training of its weights"""
    stretch: Stretch | None = None
    """of a backbone: brightness before it; None: linear, of images of 8 bits"""


@dataclass(frozen=True)
class BundleSource:
    """A bundle."""

    folder: Path
    about: BundleDescription
    depth: int

    @property
    def origin(self) -> dict[str, Any]:
        """What decides the features, JSON-able."""
        return _origin(self.about.cell.network, self.depth) | {
            "bundle": self.about.name,
            "bundle_sha256": self.about.sha256,
        }

    @property
    def crop(self) -> int:
        return self.about.cell.pixels.crop

    @property
    def seed(self) -> int:
        return self.about.seed

    def require(self, form: Form) -> None:
        """Raise `DataError` unless images of that form can be used."""
        self.about.require(form)

    def open(self, setting: PredictSettings, unfinished: UnfinishedPrediction, items: Iterator[Item]) -> Opened:
        """The network, ready, and the images again, of which it may have looked at the first."""
        if not self.depth:
            backend, items = begin(self.folder, self.about, setting, unfinished, items)
            return LastFeatures(backend), items
        _require_torch(setting)
        model = load(self.folder, device=setting.device)
        expected = self.about.expected
        feed = _feed(self.about.cell.pixels, expected, expected.bands, model.device)
        return features_at(model.model.network, self.depth, feed), items


@dataclass(frozen=True)
class BackboneSource:
    """A network by its name."""

    made: Backbone
    title: str
    """with its weights"""
    weights: Weights
    pixels: Pixels
    form: Form
    """of the first image that can be read"""
    depth: int
    seed: int = 0

    @property
    def origin(self) -> dict[str, Any]:
        """What decides the features, JSON-able."""
        preprocessing = self.made.preprocessing
        return _origin(self.title, self.depth) | {
            "weights": self.weights.source,
            "weights_sha256": self.weights.sha256,
            "pixels": self.pixels.model_dump(mode="json"),
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
        }

    @property
    def crop(self) -> int:
        return self.pixels.crop

    def require(self, form: Form) -> None:
        """Raise `DataError` unless images of that form can be used."""
        height, width = form.size
        if min(height, width) < self.crop:
            raise DataError(f"it has {width} x {height} pixels, and {self.crop} x {self.crop} are cut from each image")
        if (form.dtype, form.bands) != (self.form.dtype, self.form.bands):
            raise DataError(
                f"it is {form.dtype} with bands {', '.join(form.bands)}, and the first image is {self.form.dtype} with "
                f"{', '.join(self.form.bands)}"
            )

    def open(self, setting: PredictSettings, unfinished: UnfinishedPrediction, items: Iterator[Item]) -> Opened:
        """The network, ready, and the images again, of which it may have looked at the first."""
        _require_torch(setting)
        device = find_device(setting.device)
        network = build(self.made, self.weights)
        require_depth(self.depth, len(network.blocks), self.title)
        fold(network.features)
        network = network.to(device).to(memory_format=torch.channels_last).requires_grad_(False)
        feed = _feed(self.pixels, self.made.preprocessing, self.form.bands, device)
        return features_at(network, self.depth, feed), items


FeatureSource = BundleSource | BackboneSource


def find_source(choice: FeatureChoice, images: Inputs) -> FeatureSource:
    """The bundle or the backbone of a choice. Weights of a backbone are fetched if they are not here.

    Raises
    ------
    BundleError, UnknownNameError, WeightsError, CutError
        There is no such bundle, network or weights.
    SpecError, DataError
        The choice contradicts itself; or not one of the first images can be read.
    """
    given = choice.network
    if not is_hub_address(given) and not Path(given).is_dir():
        return _of_backbone(choice, images)
    for name in ("weights", "crop", "input_size", "stretch"):
        if getattr(choice, name) is not None:
            raise SpecError(f"{name} is of a backbone, and the bundle {given} has its own: leave it out")
    folder = bundle_folder(given)
    about = read_about(folder)
    require_depth(choice.depth, about.blocks, about.cell.backbone)
    return BundleSource(folder, about, choice.depth)


def _of_backbone(choice: FeatureChoice, images: Inputs) -> BackboneSource:
    name = choice.network
    try:
        own = backbone(name)
    except UnknownNameError as error:
        raise UnknownNameError(f"{name} is neither the folder of a bundle nor a backbone: {error}") from None
    network = alone(own, choice.weights)
    form = _first_form(images)
    size, crop = choice.input_size or own.input_size, choice.crop or min(form.size)
    bilinear = network.interpolation == "bilinear" and size != crop
    try:
        pixels = Pixels(
            crop=crop,
            size=size,
            bands=None,
            stretch=choice.stretch or Stretch(kind="linear"),
            interpolation="bilinear" if bilinear else "bicubic",
        )
    except ValidationError as error:
        raise SpecError(one_line(error, Pixels).replace("size =", "input_size =")) from None
    pixels = pixels.settled(form.bands, form.floats)
    pixels.require_room(min(form.size), 0)
    weights = locate(own, network.choice)
    made = chosen(backbone(network.name).with_bands(pixels.inputs).with_size(size), network.choice)
    return BackboneSource(made, network.title, weights, pixels, form, choice.depth)


def _first_form(images: Inputs) -> Form:
    """Of the first image that can be read."""
    reason = ""
    for _, content in islice(images.items(), TRIED):
        try:
            return probe(content.read(), "")
        except BrokenImageError as error:
            reason = error.reason
    raise DataError(f"not one of the first {min(TRIED, len(images))} images can be read; the last: {reason}")


def _origin(network: str, depth: int) -> dict[str, Any]:
    return {"schema": SCHEMA, "network": network, "depth": depth, "skythaw": version_of("skythaw")}


def _require_torch(setting: PredictSettings) -> None:
    if setting.backend == "onnx":
        raise SpecError("the backend onnx gives the features of a bundle at depth 0 alone; use the backend torch")


def _feed(
    pixels: Pixels, expected: Expected | Preprocessing, bands: tuple[str, ...], device: torch.device
) -> LabelledImages:
    """How decoded pixels become the input of a network, of no images yet."""
    side = pixels.crop
    none, rows = np.zeros((0, side, side, len(bands)), np.uint8), np.arange(STEP)
    return LabelledImages(none, rows, np.zeros_like(rows), pixels, expected.mean, expected.std, device, bands=bands)
