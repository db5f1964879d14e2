"""Bundles that answer: all in one thread, one image at a time, by onnxruntime where the bundle allows it.

One image at a time, so that an answer does not depend on who else asks, to the bit; one thread, because `numerics`
fixes settings of the whole process.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from skythaw.bundle.backends import Backend, open_for_single
from skythaw.bundle.bundle_file import BundleDescription
from skythaw.bundle.classifier import Classifier, require_probabilities
from skythaw.bundle.numbers_wanted import NumbersWanted
from skythaw.bundle.table_given import columns_given
from skythaw.data.decode import BrokenImageError, decode, middle
from skythaw.errors import DataError, SkythawError
from skythaw.machine.allocator import trim
from skythaw.machine.numerics import numerics
from skythaw.predict.object_numbers import wanted_columns

WAITING = 64
"""images that may wait for one bundle, when others ask"""
AT_ONCE = 2
"""files of questions that are in memory: one that is answered, and the next"""
CROWD = 8
"""questions at once, after more than which memory is handed back to the system"""
Value = TypeVar("Value")


class Upload(Protocol):
    """A file that was sent."""

    async def read(self) -> bytes:
        """Its content."""


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
        self._backend = open_for_single(folder, device)
        self.about: BundleDescription = self._backend.classifier.about
        self._pool, self._device = pool, device
        self._asked = self._crowd = 0
        """images that wait or are answered; and the most since memory was handed back"""
        self._turns: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    @property
    def wants(self) -> NumbersWanted | None:
        """The columns that it takes beside an image; None if it takes none."""
        return wanted_columns(self.about)

    async def probabilities(
        self, asked: Sequence[tuple[bytes | Upload, np.ndarray | None]]
    ) -> list[dict[str, Any] | DataError]:
        """What the classifier says of some image files, and of the numbers that columns give of their objects.

        All of them get their turn before those who ask later. One that can't be used has its reason.
        """

        async def one(file: bytes | Upload, numbers: np.ndarray | None) -> dict[str, Any] | DataError:
            try:
                return await self._ask(file, lambda backend, data: answer(backend, data, numbers))
            except DataError as error:
                return error

        with self._admitted(len(asked)):
            tasks = [asyncio.create_task(one(*each)) for each in asked]
            try:
                return await asyncio.gather(*tasks)
            finally:  # where one has failed, nobody waits for the others any more
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def explained(self, file: bytes | Upload, given: np.ndarray | None = None) -> dict[str, Any]:
        """The same, with the image as it was seen, the reasons, and the training images that look like it."""

        def both(backend: Backend, data: bytes) -> dict[str, Any]:
            return answer(backend, data, given) | reasons(backend.classifier, data, given)

        with self._admitted(1):
            return await self._ask(file, both)

    @contextmanager
    def _admitted(self, images: int) -> Iterator[None]:
        """Count images that wait; raise `BusyError` if too many do."""
        if self._asked >= WAITING:
            raise BusyError("too many images wait already; ask again in a moment")
        self._asked += images
        self._crowd = max(self._crowd, self._asked)
        try:
            yield
        finally:
            self._asked -= images
            if not self._asked and self._crowd > CROWD:
                self._crowd = 0
                asyncio.get_running_loop().run_in_executor(self._pool, trim)

    async def _ask(self, file: bytes | Upload, question: Callable[[Backend, bytes], Value]) -> Value:
        """Ask when it is this file's turn; what was uploaded stays on the disk until then."""
        loop = asyncio.get_running_loop()
        async with self._turn(loop):
            data = file if isinstance(file, bytes) else await file.read()
            return await loop.run_in_executor(self._pool, self._work, question, data)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
        if self._turns is None or self._turns[0] is not loop:
            self._turns = loop, asyncio.Semaphore(AT_ONCE)
        return self._turns[1]

    def _work(self, question: Callable[[Backend, bytes], Value], data: bytes) -> Value:
        with numerics(1, self.about.seed, self._device):
            return question(self._backend, data)


def numbers_of(wants: NumbersWanted | None, typed: Mapping[str, str]) -> np.ndarray | None:
    """The numbers that somebody typed for one object, float64 [given]; None if none was.

    Parameters
    ----------
    wants
        what the classifier takes; None: no columns
    typed
        text by column; empty where a number is not known

    Raises
    ------
    DataError
        A text is no number, or infinite; or there is no such column.
    """
    there = {name: text.strip() for name, text in typed.items() if text.strip()}
    if odd := [name for name in there if wants is None or name not in wants.columns]:
        raise DataError(f"this classifier takes no column {odd[0][:80]!r}")
    if wants is None or not there:
        return None
    return np.asarray(columns_given(wants, {name: [_number(name, there.get(name))] for name in wants.columns}, 1)[0])


def _number(name: str, text: str | None) -> float:
    try:
        return np.nan if text is None else float(text)
    except ValueError:
        raise DataError(f"the column {name!r} should hold a number, not {text[:40]!r}") from None  # type: ignore[index]


def answer(backend: Backend, data: bytes, given: np.ndarray | None = None) -> dict[str, Any]:
    """Probabilities, label, entropy and distance for the content of an image file, and the numbers of its object.

    Raises
    ------
    DataError
        It can't be read, or is not of the kind that the classifier takes.
    """
    classifier = backend.classifier
    values = _values(classifier, data)
    seen = backend.one(values)
    p, inputs = seen.p[0], None
    if half := classifier.numbers:
        numbers = half.wants.together(None if given is None else given[None], half.wants.measure(values[None]))
        judged = half.judge(np.asarray(seen.log_p), numbers)
        p, inputs = judged.p[0], str(judged.inputs[0])
    require_probabilities(p[None])
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0).sum() / np.log(len(p))
    found = {
        "label": classifier.classes[int(p.argmax())],
        "probabilities": {name: float(value) for name, value in zip(classifier.classes, p, strict=True)},
        "entropy": float(abs(entropy)),
        "inputs": inputs,
        "distance": None,
        "percentile": None,
    }
    if classifier.references is not None:
        distance = classifier.references.distances(seen.features)
        found |= {"distance": float(distance[0]), "percentile": float(classifier.references.percentiles(distance)[0])}
    return found


def reasons(classifier: Classifier, data: bytes, given: np.ndarray | None = None) -> dict[str, Any]:
    """The image as the network got it, where it looked, and what it takes it for, as pictures (data URIs)."""
    from skythaw.explain.explanation import explain
    from skythaw.explain.saliency_maps import overlay

    found = explain(classifier, _values(classifier, data), "the image", given=given)
    numbers = found.numbers
    return {
        "image": uri(png(found.picture)),
        "cells": found.cells,
        "grad_cam": uri(overlay(found.picture, found.grad_cam)),
        "occlusion": uri(overlay(found.picture, found.occlusion)),
        "neighbours": [
            {"object_id": each.object_id, "label": each.label, "distance": each.distance, "image": uri(each.image)}
            for each in found.neighbours
        ],
        "numbers": None if numbers is None else asdict(numbers),
        "said": [] if numbers is None else numbers.sentences(found.label),
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
    """An image's middle, or all of it if it is to be measured; raises `DataError` unless it is of the right kind."""
    try:
        whole = decode(data, "", classifier.about.require)
        return whole if classifier.numbers else middle(whole, classifier.about.cell.pixels.crop)
    except BrokenImageError as error:
        raise DataError(f"the image can't be read: {error.reason}") from None
