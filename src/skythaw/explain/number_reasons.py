"""What the numbers beside an image do to an answer: each half's own answer, and what each number does.

A number's weight is by how much the probability of the class drops where the median of the training takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skythaw.bundle.classifier import Classifier
from skythaw.bundle.number_half import NumberHalf
from skythaw.errors import DataError

SHOWN = 8
"""numbers in a picture and on a page"""


@dataclass(frozen=True)
class NumberWeight:
    """One number of an object, and what it does to the answer."""

    name: str
    value: float | None
    """None where it is missing"""
    usual: float
    """the median of the training"""
    drop: float
    """by how much the probability of the class drops with the usual value in its place"""


@dataclass(frozen=True)
class NumberReasons:
    """What image and numbers do to an answer."""

    inputs: str
    """by what the object was judged: ``both``, ``images`` or ``table``"""
    halves: dict[str, dict[str, float]]
    """the probabilities of each class by ``images`` and by ``table`` alone, where they are there"""
    weights: tuple[NumberWeight, ...]
    """of all numbers, the weightiest first"""
    moved_by_image: float | None
    """by how much the probability of the class is higher with the image than by the numbers alone; None without both"""
    moved_by_numbers: float | None
    """the same, with the numbers and by the image alone"""

    def sentences(self, label: str) -> list[str]:
        """In words."""
        if self.moved_by_image is None or self.moved_by_numbers is None:
            what = {"images": "the image", "table": "the numbers"}.get(self.inputs, "nothing")
            return [f"Judged by {what} alone."]
        alone = ", ".join(f"{name} {self.halves[key][label]:.3f}" for key, name in _HALVES.items())
        said = [
            f"p({label}) by {alone}; together the image moved it by {self.moved_by_image:+.3f}, and the numbers by "
            f"{self.moved_by_numbers:+.3f}."
        ]
        if strong := [each for each in self.weights[:3] if abs(each.drop) >= LEAST]:
            names = ", ".join(f"{each.name} ({each.drop:+.3f})" for each in strong)
            said.append(f"The weightiest numbers: {names}; so much p({label}) would drop with the usual value.")
        return said


_HALVES = {"images": "the image alone", "table": "the numbers alone"}
LEAST = 0.001
"""a smaller drop is not worth a word"""


def number_reasons(
    classifier: Classifier, log_p: Float[np.ndarray, "1 class"], values: Float[np.ndarray, "1 number"], label: str
) -> NumberReasons:
    """Ask both halves of a classifier about one object.

    Parameters
    ----------
    classifier
        that takes numbers beside images
    log_p
        of the network, as it gives them; NaN without an image
    values
        all numbers of the object, in the order of the model; NaN where one is missing
    label
        the class to explain

    Raises
    ------
    DataError
        The classifier takes images alone.
    """
    half = classifier.numbers
    if half is None:
        raise DataError("this classifier takes images alone: there are no numbers to explain")
    place = classifier.classes.index(label)
    whole = half.judge(log_p, values)
    nothing = (np.full_like(log_p, np.nan), np.full_like(values, np.nan))
    alone = {"images": half.judge(log_p, nothing[1]), "table": half.judge(nothing[0], values)}
    halves = {
        name: dict(zip(classifier.classes, map(float, each.p[0]), strict=True))
        for name, each in alone.items()
        if each.inputs[0]
    }
    moved = {name: float(whole.p[0, place]) - each[label] for name, each in halves.items()} if len(halves) == 2 else {}
    weights = _weights(half, log_p, values, place) if "table" in halves else ()
    return NumberReasons(str(whole.inputs[0]), halves, weights, moved.get("table"), moved.get("images"))


def _weights(half: NumberHalf, log_p: np.ndarray, values: np.ndarray, place: int) -> tuple[NumberWeight, ...]:
    """What each number does, the weightiest first."""
    usual, count = half.model.scaling.middle, values.shape[1]
    changed = np.repeat(values, count + 1, axis=0)
    changed[np.arange(count), np.arange(count)] = usual
    p = half.judge(np.repeat(log_p, count + 1, axis=0), changed).p[:, place]
    drops = np.where(np.isfinite(p[:-1]), p[-1] - p[:-1], 0.0)
    return tuple(
        NumberWeight(
            half.wants.record.names[i],
            float(values[0, i]) if np.isfinite(values[0, i]) else None,
            float(usual[i]),
            float(drops[i]),
        )
        for i in np.argsort(-np.abs(drops), kind="stable").tolist()
    )
