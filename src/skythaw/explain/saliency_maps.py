"""Where in an image a classifier's answer comes from: Grad-CAM, and occlusion by captum."""

from __future__ import annotations

import io
from contextlib import ExitStack

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor, nn

from skythaw.backbones.last_map import LastMap, as_map
from skythaw.bundle.classifier import Classifier
from skythaw.bundle.network_mean import NetworkMean
from skythaw.data.network_input import batch_input, normalise
from skythaw.errors import DataError, UnknownNameError
from skythaw.report.figures.matplotlib_figures import require_matplotlib
from skythaw.tuning.thawed_network import ThawedNetwork

WINDOWS = 8
"""a hidden square is the side of the network's image over this, and moves by half of itself"""
SMALLEST = 4
"""pixels a side of it"""
TOGETHER = 32
"""images for the network at once"""
OPACITY = 0.6


def grad_cam(classifier: Classifier, image: np.ndarray, label: str | None = None) -> Float32[np.ndarray, "y x"]:
    """Where the features are that speak for a class, by Grad-CAM on the network's last map of at least 7 x 7 cells.

    The map of a transformer is made of its tokens. Of several networks it is the mean of their maps. Selvaraju et al.
    2017, "Grad-CAM: visual explanations from deep networks via gradient-based localization", arXiv:1610.02391.

    Parameters
    ----------
    classifier
        from a bundle; any depth, also one of which nothing was trained
    image
        [y, x, band], as the classifier takes it
    label
        the class; by default, the most probable

    Returns
    -------
    numpy.ndarray
        float32 [y, x], 0 to 1, of the crop; all 0 where nothing speaks for the class

    Raises
    ------
    DataError, UnknownNameError
        The image is none for this classifier; there is no such class.
    """
    x, target = _prepared(classifier, image, label)
    each = zip(classifier.models, classifier.last_maps, strict=True)
    heat = torch.stack([_heat(model, place, x, target) for model, place in each]).mean(0)
    found = _resized(heat.relu(), classifier.about.cell.pixels.crop).clip(0)
    return found / found.max() if found.max() > 0 else found


def occlusion(classifier: Classifier, image: np.ndarray, label: str | None = None) -> Float32[np.ndarray, "y x"]:
    """By how much the probability of a class drops where a square of the image is hidden, averaged over the squares.

    Zeiler & Fergus 2014, "Visualizing and understanding convolutional networks", arXiv:1311.2901. What is hidden gets
    the median of each band, which is the sky. The square is an eighth of the side, and moves by half of itself.

    Parameters
    ----------
    classifier, image, label
        as `grad_cam` takes them

    Returns
    -------
    numpy.ndarray
        float32 [y, x] of the crop, -1 to 1: positive where hiding costs probability

    Raises
    ------
    DataError, UnknownNameError
        As `grad_cam` does; or captum is not installed.
    """
    _require_captum()
    from captum.attr import Occlusion

    x, target = _prepared(classifier, image, label)
    side = max(SMALLEST, x.shape[-1] // WINDOWS)
    sky = x.flatten(2).median(2).values[..., None, None].expand_as(x)
    with torch.no_grad(), ExitStack() as scoring:
        for model in classifier.models:
            scoring.enter_context(model.evaluating())
        drop = Occlusion(_Probability(classifier)).attribute(
            x,
            sliding_window_shapes=(x.shape[1], side, side),
            strides=(x.shape[1], max(1, side // 2), max(1, side // 2)),
            baselines=sky,
            target=target,
            perturbations_per_eval=TOGETHER,
        )
    return _resized(drop[:, :1], classifier.about.cell.pixels.crop)


def overlay(image: UInt8[np.ndarray, "y x 3"], heat: Float32[np.ndarray, "y x"]) -> bytes:
    """A map over an image, as a PNG file of the image's size: what is negative is not shown.

    Parameters
    ----------
    image
        uint8 [y, x, (red, green, blue)]
    heat
        float32 [y, x], as `grad_cam` and `occlusion` give it

    Raises
    ------
    DataError
        matplotlib is not installed.
    """
    require_matplotlib("explain")
    from matplotlib import colormaps

    size = (image.shape[1], image.shape[0])
    strength = np.clip(heat, 0, None) / max(float(heat.max()), 1e-12)
    strength = np.asarray(Image.fromarray(strength.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    colours = colormaps["inferno"](strength)[..., :3] * 255
    share = OPACITY * strength[..., None]
    out = io.BytesIO()
    Image.fromarray(np.round((1 - share) * image + share * colours).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def _heat(
    model: ThawedNetwork, place: LastMap, x: Float32[Tensor, "1 band y x"], target: int
) -> Float32[Tensor, "1 1 y x"]:
    """What the features of one network's last map say for a class, and against it."""
    with model.evaluating():
        values = [value.clone().requires_grad_(True) for value in place.parts.prefix(x)]
        with torch.enable_grad():  # of what crosses alone: so it works on a network of which every weight is frozen
            last = place.parts.suffix(*(value.clone() for value in values))  # clones, for it may change them in place
            slopes = torch.autograd.grad(model.head(last)[0, target], values, allow_unused=True)
    heat = torch.zeros(1, 1, place.side, place.side, device=x.device)
    for value, slope in zip(values, slopes, strict=True):
        cells, slopes_there = as_map(value.detach()), None if slope is None else as_map(slope)
        if cells is not None and slopes_there is not None and cells.shape[-1] == place.side:
            heat = heat + (slopes_there.mean((2, 3), keepdim=True) * cells).sum(1, keepdim=True)
    return heat


class _Probability(nn.Module):
    """The calibrated probabilities of images as the network gets them."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.networks = NetworkMean(classifier.models, classifier.about)
        self.temperature = classifier.about.temperature

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.softmax(self.networks(x)[0] / self.temperature, 1)


def _prepared(
    classifier: Classifier, image: np.ndarray, label: str | None
) -> tuple[Float32[Tensor, "1 band y x"], int]:
    """An image as the network gets it, and the number of the class."""
    p = classifier.predict(image[None])[0]
    if label is not None and label not in classifier.classes:
        raise UnknownNameError.among("class", label, classifier.classes)
    target = int(p.argmax()) if label is None else classifier.classes.index(label)
    expected, pixels = classifier.about.expected, classifier.about.cell.pixels
    x = batch_input(image[None], np.zeros(1, np.int64), pixels, bands=expected.bands)
    return normalise(x, expected.mean, expected.std).to(classifier.device), target


def _resized(heat: Tensor, side: int) -> Float32[np.ndarray, "y x"]:
    if heat.shape[-1] != side:
        heat = nn.functional.interpolate(heat, (side, side), mode="bilinear", align_corners=False)
    return heat[0, 0].cpu().float().numpy()


def _require_captum() -> None:
    try:
        import captum  # noqa: F401
    except ImportError:
        raise DataError("explanations need captum: pip install 'skythaw[explain]'") from None
