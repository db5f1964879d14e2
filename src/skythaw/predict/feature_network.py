"""Networks that give features: what comes out at a cut, averaged over the image."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from skythaw.backbones.cut import Whole, cut, depths_to_cut
from skythaw.backbones.last_map import as_map
from skythaw.backbones.network import Network
from skythaw.bundle.backends import Backend
from skythaw.errors import CutError, SpecError
from skythaw.tuning.labelled_images import LabelledImages

STEP = 64
"""images that go through a network at once: always so many, so that no row depends on those beside it"""


@dataclass(frozen=True)
class LastFeatures:
    """A bundle's own features, from which its head judges: those of depth 0."""

    backend: Backend

    @property
    def width(self) -> int:
        """How many features there are."""
        return self.backend.classifier.about.features

    @property
    def name(self) -> str:
        """Of what it runs on: ``torch`` or ``onnx``."""
        return self.backend.name

    @property
    def device(self) -> torch.device:
        return self.backend.classifier.device

    def features(self, images: np.ndarray) -> Float32[np.ndarray, "object feature"]:
        """Features of images [object, y, x, band], uint8 or float32, cropped."""
        return self.backend.outputs(images).features

    def twin(self) -> LastFeatures:
        """The same for another thread; both share their weights."""
        return LastFeatures(self.backend.twin())


@dataclass(frozen=True)
class CutFeatures:
    """What crosses a cut, averaged over the image; several tensors side by side."""

    prefix: nn.Module
    """images -> what crosses"""
    feed: LabelledImages
    """of no images yet: how pixels become the input of the network"""
    width: int
    name: str = "torch"

    @property
    def device(self) -> torch.device:
        return self.feed.device

    def features(self, images: np.ndarray) -> Float32[np.ndarray, "object feature"]:
        """Features of images [object, y, x, band], uint8 or float32, cropped."""
        return np.concatenate([self._step(images[i : i + STEP]) for i in range(0, len(images), STEP)])

    def _step(self, images: np.ndarray) -> np.ndarray:
        full = np.concatenate([images, images[:1].repeat(STEP - len(images), axis=0)])
        with torch.inference_mode():
            values = self.prefix(replace(self.feed, pixels=full).batch(np.arange(STEP)))
            return pooled(values)[: len(images)].float().cpu().numpy()

    def twin(self) -> CutFeatures:
        """The same for another thread; both share their weights."""
        shared = {id(tensor): tensor for tensor in (*self.prefix.parameters(), *self.prefix.buffers())}
        return replace(self, prefix=copy.deepcopy(self.prefix, shared))


FeatureNetwork = LastFeatures | CutFeatures


def features_at(network: Network, depth: int, feed: LabelledImages) -> CutFeatures:
    """A network, in evaluation mode and on its device, that gives the features of a depth.

    Parameters
    ----------
    network
        any
    depth
        how many of its topmost blocks are left out; 0: those that the head gets
    feed
        of no images: how pixels become the input of the network

    Raises
    ------
    SpecError
        There is no such depth, or the network takes no images of that size.
    CutError
        It can't be cut there; the message says where it can.
    """
    require_depth(depth, len(network.blocks), network.name)
    try:
        prefix = cut(network, depth).prefix if depth else Whole(network.features)
    except CutError as error:
        where = ", ".join(map(str, sorted({0, *depths_to_cut(network)})))
        raise CutError(f"{error}; features of {network.name} can be taken at depth {where}") from None
    size, bands = feed.spec.size, feed.spec.inputs
    try:
        with torch.inference_mode():
            width = pooled(prefix(torch.zeros(1, bands, size, size, device=feed.device))).shape[1]
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise SpecError(f"{network.name} doesn't work on images of {size} pixels: {reason}") from None
    return CutFeatures(prefix.eval(), feed, width)


def require_depth(depth: int, blocks: int, name: str) -> None:
    """Raise `SpecError` unless there is something of a network below its `depth` topmost blocks."""
    if not 0 <= depth < blocks:
        raise SpecError(
            f"depth {depth}: {name} has {blocks} blocks, so there are features at the depths 0 to {blocks - 1}"
        )


def pooled(values: tuple[Tensor, ...]) -> Float32[Tensor, "batch feature"]:
    """What crosses a cut, each map averaged over its places and tokens over those that have a place; side by side."""
    return torch.cat([_averaged(value) for value in values], dim=1).float()


def _averaged(value: Tensor) -> Tensor:
    if value.ndim == 2:
        return value
    found = as_map(value)
    return value.flatten(2).mean(2) if found is None else found.mean((2, 3))
