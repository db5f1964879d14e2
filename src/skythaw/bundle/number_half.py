"""The half of a classifier that judges by numbers, and how its answers and the network's become one. No torch.

An object without numbers gets the answer of the network, and one without an image that of the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from skythaw.bundle.bundle_file import NUMBERS, BundleDescription, read_file
from skythaw.bundle.numbers_wanted import NumbersWanted
from skythaw.errors import BundleError, SkythawError
from skythaw.stats.calibration import tempered
from skythaw.tables.number_models import LARGEST, NumberModel
from skythaw.tuning.fusion import STACK, Stack, fused

BOTH, IMAGES, TABLE, NEITHER = "both", "images", "table", ""
"""what an answer is made of"""
LEAST_P = 1e-38
"""a smaller probability counts as this: float32 has hardly any"""
LARGEST_WEIGHT = 1e6
"""of a stack"""


@dataclass(frozen=True)
class JointAnswer:
    """What both halves give for some objects."""

    p: Float32[np.ndarray, "object class"]
    """calibrated; NaN where there is neither image nor number"""
    inputs: np.ndarray
    """text [object]: ``both``, ``images`` or ``table``; empty where there is neither"""


@dataclass(frozen=True, eq=False)
class NumberHalf:
    """The model of the numbers of a bundle, and the stack where there is one."""

    about: BundleDescription
    model: NumberModel
    stack: Stack | None

    @cached_property
    def wants(self) -> NumbersWanted:
        """Which numbers it takes."""
        return NumbersWanted(self.about)

    def judge(
        self,
        log_p: Float[np.ndarray, "object class"],
        values: Float[np.ndarray, "object number"],
        *,
        calibrated: bool = True,
    ) -> JointAnswer:
        """The answers for objects of which the network's log-probabilities, as it gives them, may be NaN."""
        seen, known = np.isfinite(log_p).all(1), self.wants.known(values)
        inputs = np.full(len(log_p), NEITHER, dtype=object)
        p = np.full(log_p.shape, np.nan, np.float32)
        of_table = np.full(log_p.shape, np.nan)
        if known.any():
            of_table[known] = self.model.log_probabilities(values[known])
        for name, rows in ((BOTH, seen & known), (IMAGES, seen & ~known), (TABLE, known & ~seen)):
            if rows.any():
                inputs[rows] = name
                p[rows] = np.exp(self._answer(name, log_p[rows], of_table[rows], calibrated))
        return JointAnswer(p, inputs)

    def _answer(self, name: str, of_images: np.ndarray, of_table: np.ndarray, calibrated: bool) -> np.ndarray:
        record = self.wants.record
        if name == BOTH:
            log_p, temperature = fused(record.fusion, (of_images, of_table), self.stack), record.temperature
        elif name == IMAGES:
            log_p, temperature = of_images, self.about.temperature
        else:
            log_p, temperature = of_table, record.table_temperature
        return tempered(log_p, temperature) if calibrated else log_p

    def raw(self, p: Float32[np.ndarray, "object class"]) -> Float[np.ndarray, "object class"]:
        """The network's log-probabilities, from calibrated probabilities: all that a backend but torch gives."""
        return tempered(np.log(np.maximum(p, LEAST_P)), 1 / self.about.temperature)


def read_number_half(folder: Path, about: BundleDescription) -> NumberHalf | None:
    """The half of the numbers of a bundle; None if it takes images alone.

    Raises
    ------
    BundleError
        The file is gone, is not the one that the bundle was made with, or holds impossible values.
    """
    if about.numbers is None:
        return None
    data = read_file(folder, about, NUMBERS, LARGEST)
    if data is None:
        raise BundleError(f"{folder} takes numbers beside an image and has no {NUMBERS}")
    return half_from_bytes(data, about, Path(folder) / NUMBERS)


def to_bytes(model: NumberModel, stack: Stack | None) -> bytes:
    """The content of the file."""
    from safetensors.numpy import save

    arrays = {f"model.{name}": each for name, each in model.to_arrays().items()}
    if stack:
        arrays |= {"stack.weights": stack.weights, "stack.bias": stack.bias}
    return save({name: np.ascontiguousarray(each) for name, each in arrays.items()})


def half_from_bytes(data: bytes, about: BundleDescription, path: Path) -> NumberHalf:
    """What a file holds, which may come from anybody; raises `BundleError`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    assert about.numbers is not None
    try:
        tensors: dict[str, np.ndarray] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BundleError(f"can't read {path}: {error}") from None
    parts: dict[str, dict[str, np.ndarray]] = {"model": {}, "stack": {}}
    for name, each in tensors.items():
        part, _, own = name.partition(".")
        if part not in parts or not own:
            raise BundleError(f"{path}: the tensor {name[:80]!r} does not belong there")
        parts[part][own] = each
    stack = _stack(parts["stack"], about, path)
    try:
        half = NumberHalf(about, NumberModel.from_arrays(parts["model"]), stack)
        half.wants.require()
        _require_answers(half)
    except (SkythawError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise BundleError(f"{path}: the model of the numbers can't be used: {' '.join(str(error).split())}") from None
    return half


def _stack(found: Mapping[str, np.ndarray], about: BundleDescription, path: Path) -> Stack | None:
    """The stack, if it is wanted and its types and shapes are right."""
    assert about.numbers is not None
    classes = len(about.classes)
    shapes = {"weights": (classes, 2 * classes), "bias": (classes,)} if about.numbers.fusion == STACK else {}
    if {name: each.shape for name, each in found.items()} != shapes:
        raise BundleError(f"{path}: the stack of {classes} classes should have the shapes {shapes}")
    for name, each in found.items():
        if each.dtype != np.float64 or not (np.abs(each) <= LARGEST_WEIGHT).all():
            raise BundleError(f"{path}: stack.{name} should be float64 numbers of at most {LARGEST_WEIGHT:g}")
    return Stack(**found) if found else None


def _require_answers(half: NumberHalf) -> None:
    """Raise `ValueError` unless the model takes as many numbers as there are names, and knows all classes."""
    count, shape = len(half.wants.record.names), (3, len(half.about.classes))
    said = {"kind": half.wants.record.model, "classes": shape[1], "numbers": count}
    if half.model.description != said:
        raise ValueError(f"it is {str(half.model.description)[:200]}, and the bundle says {said}")
    extremes = np.stack([np.zeros(count), np.full(count, np.nan), np.full(count, 1e9)])
    with np.errstate(all="ignore"):
        tried: Any = half.model.log_probabilities(extremes)
    if np.shape(tried) != shape or not np.isfinite(tried).all():
        raise ValueError(f"for 3 objects of {count} numbers it gives {np.shape(tried)} values, not {shape}")
