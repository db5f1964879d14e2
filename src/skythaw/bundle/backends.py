"""What a network runs on: torch, whose numbers are a run's to the last bit, or onnxruntime, often faster on a CPU."""

from __future__ import annotations

import copy
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from skythaw.bundle.bundle_file import ONNX, About
from skythaw.bundle.classifier import Classifier, Seen
from skythaw.bundle.onnx_session import FEATURES, INPUT, OUTPUT, TOLERANCE, open_session, read_graph
from skythaw.data.network_input import batch_input
from skythaw.errors import BundleError, SpecError

Name = Literal["torch", "onnx"]
NAMES: tuple[Name, ...] = ("torch", "onnx")
SLICE = 16
"""images that onnxruntime gets at once: what a layer gives for them stays in the processor's cache"""
ROUNDS, ENOUGH = 3, 0.4
"""times that each backend is tried, and seconds after which no further round begins"""


class Backend(Protocol):
    """Images in, probabilities and features out."""

    name: Name

    def see(self, images: np.ndarray) -> Seen:
        """What the classifier makes of decoded images [object, y, x, band], cropped or not, uint8 or float32."""

    def twin(self) -> Backend:
        """The same for another thread, weights in common."""


class Torch:
    """The classifier itself. Its batches are filled up to whole steps of training: so the bits are the run's."""

    name: Name = "torch"

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def see(self, images: np.ndarray) -> Seen:
        count, step = len(images), self._classifier.about.cell.recipe.batch
        seen = self._classifier.see(np.concatenate([images, images[:1].repeat(-count % step, axis=0)]))
        return Seen(seen.p[:count], seen.features[:count])

    def twin(self) -> Torch:
        model = self._classifier.model
        shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        known = self._classifier
        return Torch(Classifier(known.about, copy.deepcopy(model, shared), known.device, known.references))


class Onnx:
    """The bundle's ONNX file in onnxruntime, on the CPU: one session for any number of threads."""

    name: Name = "onnx"

    def __init__(self, content: bytes, about: About) -> None:
        self._about = about
        self._session = open_session(content, about)

    def see(self, images: np.ndarray) -> Seen:
        parts = [self._slice(images[i : i + SLICE]) for i in range(0, len(images), SLICE)]
        return Seen(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def twin(self) -> Onnx:
        return self

    def _slice(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, bands = self._about.cell.pixels, self._about.expected.bands
        x = batch_input(images, np.arange(len(images)), pixels, bands=bands).contiguous()
        try:
            p, features = self._session.run([OUTPUT, FEATURES], {INPUT: x.numpy()})
        except Exception as error:  # onnxruntime raises many kinds
            raise BundleError(f"{ONNX} can't be run: {' '.join(str(error).split())[:200]}") from None
        shapes = (len(images), len(self._about.classes)), (len(images), self._about.features)
        if (p.shape, features.shape) != shapes:
            raise BundleError(f"{ONNX} gives {p.shape} and {features.shape} numbers, not {shapes[0]} and {shapes[1]}")
        return p, features


def open_backend(name: str, classifier: Classifier, folder: Path) -> Backend:
    """The backend of a name.

    Raises
    ------
    SpecError
        There is none of that name; the bundle has no ONNX file, or onnxruntime is not installed.
    BundleError
        The ONNX file is another, or one that can't be.
    """
    if name not in NAMES:
        raise SpecError(f"there is no backend {name!r}; use one of {', '.join(NAMES)}")
    if name == "torch":
        return Torch(classifier)
    require_onnx(classifier.about, classifier.device.type)
    content = read_graph(folder, classifier.about)
    assert content is not None
    return Onnx(content, classifier.about)


def require_onnx(about: About, device: str, *, here: bool = True) -> None:
    """Raise `SpecError` unless a bundle's ONNX file can be run, on this machine or elsewhere."""
    if device not in ("cpu", "auto"):
        raise SpecError(f"the backend onnx runs on the CPU, not on {device!r}; use the backend torch there")
    if ONNX not in about.files:
        raise SpecError(f"the backend onnx needs {ONNX}: the bundle has none; or use the backend torch")
    if here and importlib.util.find_spec("onnxruntime") is None:
        raise SpecError(
            "the backend onnx needs the package onnxruntime: pip install 'skythaw[fast]'; or use the backend torch"
        )


def fastest_backend(classifier: Classifier, folder: Path, images: Sequence[np.ndarray]) -> Backend:
    """The backend that is done first with some images, of those that say what torch says; torch if there is no other.

    Parameters
    ----------
    classifier
        from a bundle
    folder
        the bundle
    images
        decoded, [y, x, band] each; a few are repeated to a whole step
    """
    torch = Torch(classifier)
    content = read_graph(folder, classifier.about) if classifier.device.type == "cpu" and len(images) else None
    if content is None:
        return torch
    some = [images[i % len(images)] for i in range(classifier.about.cell.recipe.batch)]
    return fastest((torch, Onnx(content, classifier.about)), np.stack(some))


def fastest(backends: Sequence[Backend], images: np.ndarray) -> Backend:
    """Of backends that agree with the first on these images, the one that takes the least time for them."""
    said = [backend.see(images).p for backend in backends]  # which warms them up
    agreeing = [each for each, p in zip(backends, said, strict=True) if each is backends[0] or _agree(p, said[0])]
    best = dict.fromkeys(agreeing, float("inf"))
    start = time.perf_counter()
    for _ in range(ROUNDS if len(agreeing) > 1 else 0):
        for backend in agreeing:
            begun = time.perf_counter()
            backend.see(images)
            best[backend] = min(best[backend], time.perf_counter() - begun)
        if time.perf_counter() - start > ENOUGH:
            break
    return min(agreeing, key=best.__getitem__)


def _agree(p: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.abs(p - wanted).max() <= TOLERANCE)
