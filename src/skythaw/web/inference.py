"""Bundles that answer: all in one thread, one image at a time.

One image at a time, so that an answer does not depend on who else asks, to the bit; one thread, because `numerics`
fixes settings of the whole process.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.bundle.classifier import Classifier, load
from skythaw.data.decode import BrokenImageError, decode, middle
from skythaw.errors import DataError, SkythawError
from skythaw.machine.numerics import numerics

WAITING = 64
"""questions that may wait for one bundle"""
Value = TypeVar("Value")


class BusyError(SkythawError):
    """Too many questions wait already."""


class InferenceQueue:
    """One bundle, loaded; raises `BundleError` if it can't be.

    Parameters
    ----------
    folder
        the bundle
    pool
        one thread, in which all queues work
    device
        where the network runs
    """

    def __init__(self, folder: Path, pool: ThreadPoolExecutor, device: str = "cpu") -> None:
        self._classifier = load(folder, device=device)
        self.about: BundleDescription = self._classifier.about
        self._pool, self._device = pool, device
        self._asked = 0

    async def probabilities(self, data: bytes) -> dict[str, Any]:
        """What the classifier says of one image file."""
        return await self._ask(lambda classifier: answer(classifier, data))

    async def explained(self, data: bytes) -> dict[str, Any]:
        """The same, with the image as it was seen, the reasons, and the training images that look like it."""
        return await self._ask(lambda classifier: answer(classifier, data) | reasons(classifier, data))

    async def _ask(self, question: Callable[[Classifier], Value]) -> Value:
        if self._asked >= WAITING:
            raise BusyError("too many images wait already; ask again in a moment")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._work, question)
        finally:
            self._asked -= 1

    def _work(self, question: Callable[[Classifier], Value]) -> Value:
        with numerics(1, self.about.seed, self._device):
            return question(self._classifier)


def answer(classifier: Classifier, data: bytes) -> dict[str, Any]:
    """Probabilities, label, entropy and distance for the content of an image file.

    Raises
    ------
    DataError
        It can't be read, or is not of the kind that the classifier takes.
    """
    values = _values(classifier, data)
    seen = classifier.outputs(values[None])
    p = seen.p[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0).sum() / np.log(len(p))
    found = {
        "label": classifier.classes[int(p.argmax())],
        "probabilities": {name: float(value) for name, value in zip(classifier.classes, p, strict=True)},
        "entropy": float(abs(entropy)),
        "distance": None,
        "percentile": None,
    }
    if classifier.references is not None:
        distance = classifier.references.distances(seen.features)
        found |= {"distance": float(distance[0]), "percentile": float(classifier.references.percentiles(distance)[0])}
    return found


def reasons(classifier: Classifier, data: bytes) -> dict[str, Any]:
    """The image as the network got it, where it looked, and what it takes it for, as pictures (data URIs)."""
    from skythaw.explain.explanation import explain
    from skythaw.explain.saliency_maps import overlay

    found = explain(classifier, _values(classifier, data), "the image")
    return {
        "image": uri(png(found.picture)),
        "cells": found.cells,
        "grad_cam": uri(overlay(found.picture, found.grad_cam)),
        "occlusion": uri(overlay(found.picture, found.occlusion)),
        "neighbours": [
            {"object_id": each.object_id, "label": each.label, "distance": each.distance, "image": uri(each.image)}
            for each in found.neighbours
        ],
    }


def png(values: np.ndarray) -> bytes:
    """An image as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


def uri(image: bytes) -> str:
    """A PNG or JPEG file as an address that holds it."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _values(classifier: Classifier, data: bytes) -> np.ndarray:
    """The middle of an image, as the classifier takes it; raises `DataError` unless it is of that kind."""
    try:
        return middle(decode(data, "", classifier.about.require), classifier.about.cell.pixels.crop)
    except BrokenImageError as error:
        raise DataError(f"the image can't be read: {error.reason}") from None
