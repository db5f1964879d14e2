"""What a network runs on: torch, which gives the numbers of the run to the last bit, or onnxruntime, often faster."""

from __future__ import annotations

import copy
import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from skythaw.bundle.bundle_file import ONNX, BundleDescription, read_file
from skythaw.bundle.classifier import Classifier, ClassifierOutput, load
from skythaw.bundle.onnx_session import FEATURES, INPUT, LARGEST, OUTPUT, TOLERANCE, open_session
from skythaw.data.network_input import batch_input
from skythaw.errors import BundleError, SpecError

Name = Literal["torch", "onnx"]
NAMES: tuple[Name, ...] = ("torch", "onnx")
SLICE = 16
"""images that onnxruntime gets at once: what a layer gives for them stays in the processor's cache"""
FEATURES_ALIKE = 1e-2
"""largest difference of a feature from that of torch, as a share of the largest feature, or of 1"""
ROUNDS, ENOUGH = 3, 0.4
"""times that each backend is tried, and seconds after which no further round begins"""


class Backend(Protocol):
    """The network of a bundle, ready to predict: images in, probabilities and features out."""

    name: Name
    classifier: Classifier
    """from the bundle"""

    def outputs(self, images: np.ndarray) -> ClassifierOutput:
        """Probabilities and features of decoded images [object, y, x, band], cropped or not, uint8 or float32."""

    def one(self, image: np.ndarray) -> ClassifierOutput:
        """The same of one decoded image [y, x, band] alone, by the shortest way: torch fills up no batch for it."""

    def twin(self) -> Backend:
        """The same backend for another thread; both share their weights."""


def open_backend(
    folder: Path,
    name: str = "auto",
    device: str = "auto",
    images: Sequence[np.ndarray] = (),
    *,
    sha256: str | None = None,
) -> Backend:
    """Open a bundle to predict with it.

    Parameters
    ----------
    folder
        the bundle
    name
        ``torch``, ``onnx``, or ``auto``: the one that is the fastest with `images`, of those that agree with torch
    device
        where torch runs
    images
        decoded, [y, x, band] each; without any, ``auto`` is torch
    sha256
        what the bundle's checksum was before, if it was opened before

    Raises
    ------
    BundleError
        It is no bundle, or another one than before; or its ONNX file is another, can't be run, or disagrees with torch.
    SpecError
        There is no backend of that name, or it can't run here: see `require_backend`.
    """
    torch = Torch(load(folder, device=device))
    about, runs_on = torch.classifier.about, torch.classifier.device.type
    if sha256 not in (None, about.sha256):
        raise BundleError(f"{folder} is no longer the bundle that this prediction began with")
    require_backend(name, about, runs_on)
    if name == "torch" or (name == "auto" and (not images or without_onnx(about, runs_on))):
        return torch
    onnx = Onnx.of(folder, torch.classifier)
    if name == "onnx":
        onnx.require_agreement(made_up(about))
        return onnx
    step = [images[i % len(images)] for i in range(about.cell.recipe.batch)]
    return fastest((torch, onnx), np.stack(step))


def require_backend(name: str, about: BundleDescription, device: str, *, here: bool = True) -> None:
    """Raise `SpecError` unless there is a backend of that name, and it can run a bundle: here, or on other machines."""
    if name not in ("auto", *NAMES):
        raise SpecError(f"there is no backend {name!r}; use one of auto, {', '.join(NAMES)}")
    if name == "onnx" and (reason := without_onnx(about, device, here=here)):
        raise SpecError(reason)


def without_onnx(about: BundleDescription, device: str, *, here: bool = True) -> str | None:
    """Why a bundle can't run with onnxruntime, here or on other machines; None if it can."""
    if device not in ("cpu", "auto"):
        return f"the backend onnx runs on the CPU, not on {device!r}; use the backend torch there"
    if ONNX not in about.files:
        return f"the backend onnx needs {ONNX}: the bundle has none; or use the backend torch"
    if here and importlib.util.find_spec("onnxruntime") is None:
        return "the backend onnx needs the package onnxruntime: pip install 'skythaw[fast]'; or use the backend torch"
    return None


class Torch:
    """The classifier itself. Batches are filled up to the batch size of training, so that the bits are the run's."""

    name: Name = "torch"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def outputs(self, images: np.ndarray) -> ClassifierOutput:
        count, step = len(images), self.classifier.about.cell.recipe.batch
        output = self.classifier.of_images(np.concatenate([images, images[:1].repeat(-count % step, axis=0)]))
        log_p = None if output.log_p is None else output.log_p[:count]
        return ClassifierOutput(output.p[:count], output.features[:count], log_p=log_p)

    def one(self, image: np.ndarray) -> ClassifierOutput:
        return self.classifier.of_images(image[None])

    def twin(self) -> Torch:
        known = self.classifier
        shared = {id(tensor): tensor for one in known.models for tensor in (*one.parameters(), *one.buffers())}
        models = copy.deepcopy(known.models, shared)
        return Torch(Classifier(known.about, models, known.device, known.references, known.numbers))


class Onnx:
    """The bundle's ONNX file in onnxruntime, on the CPU: one session for any number of threads."""

    name: Name = "onnx"

    def __init__(self, content: bytes, classifier: Classifier) -> None:
        self.classifier = classifier
        self._session = open_session(content, classifier.about)
        self._trusted = False

    @classmethod
    def of(cls, folder: Path, classifier: Classifier) -> Onnx:
        """The ONNX file of a bundle that has one; raises `BundleError`."""
        content = read_file(folder, classifier.about, ONNX, LARGEST)
        assert content is not None  # `without_onnx` was asked
        return cls(content, classifier)

    def outputs(self, images: np.ndarray) -> ClassifierOutput:
        if not self._trusted and len(images):
            self.require_agreement(images[:SLICE])
            self._trusted = True
        return self.untried(images)

    def require_agreement(self, images: np.ndarray) -> None:
        """Raise `BundleError` unless the file gives what torch gives for these images."""
        if not self.agrees(images):
            raise BundleError(
                f"{ONNX} gives other probabilities or features than the bundle's weights: it is of another network, or "
                "was changed; use the backend torch"
            )

    def agrees(self, images: np.ndarray) -> bool:
        """Whether the file gives what torch gives for these images."""
        return agree(self.untried(images), Torch(self.classifier).outputs(images))

    def untried(self, images: np.ndarray) -> ClassifierOutput:
        """The same without the comparison with torch that comes before the first answer."""
        parts = [self._slice(images[i : i + SLICE]) for i in range(0, len(images), SLICE)]
        return ClassifierOutput(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def one(self, image: np.ndarray) -> ClassifierOutput:
        return self.outputs(image[None])

    def twin(self) -> Onnx:
        return self

    def _slice(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        about = self.classifier.about
        x = batch_input(images, np.arange(len(images)), about.cell.pixels, bands=about.expected.bands).contiguous()
        try:
            p, features = self._session.run([OUTPUT, FEATURES], {INPUT: x.numpy()})
        except Exception as error:  # onnxruntime raises many kinds
            raise BundleError(f"{ONNX} can't be run: {' '.join(str(error).split())[:200]}") from None
        shapes = (len(images), len(about.classes)), (len(images), about.features)
        if (p.shape, features.shape) != shapes:
            raise BundleError(f"{ONNX} gives {p.shape} and {features.shape} numbers, not {shapes[0]} and {shapes[1]}")
        return p, features


def open_for_single(folder: Path, device: str = "auto") -> Backend:
    """Open a bundle that is asked for one image at a time: onnxruntime is many times faster then (docs/performance.md).

    It is taken where the bundle has an ONNX file that agrees with torch, and no numbers beside images, which need the
    logarithms that torch gives. Raises as `load`.
    """
    torch = Torch(load(folder, device=device))
    known = torch.classifier
    if known.numbers is not None or without_onnx(known.about, known.device.type):
        return torch
    onnx = Onnx.of(folder, known)
    return onnx if onnx.agrees(made_up(known.about)) else torch


def onnx_agrees(folder: Path, about: BundleDescription) -> bool:
    """Whether a bundle's ONNX file gives what torch gives, for made-up images; raises `BundleError`."""
    return Onnx.of(folder, load(folder, device="cpu")).agrees(made_up(about))


def made_up(about: BundleDescription) -> np.ndarray:
    """A few images of the form of training, for a comparison where no others are at hand: noise, smooth and black."""
    rng, side = np.random.default_rng(0), about.cell.pixels.crop
    noise = rng.random((4, side, side, len(about.expected.bands)))
    smooth = np.linspace(0, 1, side)[:, None, None] * np.linspace(1, 0, side)[:, None] * noise[:2, :1, :1]
    values = np.concatenate([noise, smooth, np.zeros_like(noise[:1])])
    return (255 * values).astype(np.uint8) if about.expected.dtype == "uint8" else values.astype(np.float32)


def fastest(backends: Sequence[Backend], images: np.ndarray) -> Backend:
    """Of backends that agree with the first on these images, the one that takes the least time for them."""
    agreeing = [backends[0], *(each for each in backends[1:] if _agrees(each, backends[0], images))]
    best = dict.fromkeys(agreeing, float("inf"))
    start = time.perf_counter()
    for _ in range(ROUNDS if len(agreeing) > 1 else 0):
        for backend in agreeing:
            begun = time.perf_counter()
            backend.outputs(images)
            best[backend] = min(best[backend], time.perf_counter() - begun)
        if time.perf_counter() - start > ENOUGH:
            break
    return min(agreeing, key=best.__getitem__)


def _agrees(backend: Backend, first: Backend, images: np.ndarray) -> bool:
    try:
        return agree(backend.outputs(images), first.outputs(images))  # which warms them up
    except BundleError:
        return False


def agree(given: ClassifierOutput, wanted: ClassifierOutput) -> bool:
    """Whether probabilities and features are alike, where the second has any."""
    rows = np.isfinite(wanted.p).all(1) & np.isfinite(wanted.features).all(1)
    far = np.abs(given.features[rows] - wanted.features[rows])
    scale = max(1.0, float(np.abs(wanted.features[rows]).max(initial=0)))
    near = np.abs(given.p[rows] - wanted.p[rows]) <= TOLERANCE
    return bool(near.all() and (far <= FEATURES_ALIKE * scale).all())
