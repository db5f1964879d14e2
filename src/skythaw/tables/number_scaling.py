"""What is learned of numbers before a model sees them: what stands for a missing one, and a common scale.

Both are learned on training objects alone, and travel with the model as plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LARGEST = 1e30
"""numbers are cut to this size: single precision holds it"""
FARTHEST = 5.0
"""scaled numbers are cut to this many scales from the middle"""


@dataclass(frozen=True, eq=False)
class NumberScaling:
    """The middle and the scale of each number, and which numbers may be missing."""

    middle: np.ndarray
    """float64 [number]: the median; it stands for a missing number"""
    scale: np.ndarray
    """float64 [number]: half the range between the 16th and the 84th percentile; never 0"""
    flagged: np.ndarray
    """int64: columns that were missing for some training objects; a further column says where they are"""

    @classmethod
    def fit(cls, values: np.ndarray) -> NumberScaling:
        """Learn from the numbers of training objects, float64 [object number]; a missing number is NaN."""
        values = np.clip(values, -LARGEST, LARGEST)
        missing = np.isnan(values)
        middle, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
        for column in np.flatnonzero(~missing.all(0)):
            there = values[~missing[:, column], column]
            low, middle[column], high = np.percentile(there, (16, 50, 84))
            spread = (high - low) / 2 or there.std()
            scale[column] = spread if spread > 0 else 1.0
        return cls(middle, scale, np.flatnonzero(missing.any(0)))

    @property
    def width(self) -> int:
        """How many columns `filled` and `scaled` give."""
        return len(self.middle) + len(self.flagged)

    def filled(self, values: np.ndarray) -> np.ndarray:
        """Without missing numbers, float64 [object column]: the median in their place, and a column that says so."""
        missing = np.isnan(values)
        numbers = np.where(missing, self.middle, np.clip(values, -LARGEST, LARGEST))
        return np.concatenate([numbers, missing[:, self.flagged]], axis=1)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """As `filled`, each number as its distance from the middle in scales, -5 to 5."""
        filled, numbers = self.filled(values), len(self.middle)
        filled[:, :numbers] = np.clip((filled[:, :numbers] - self.middle) / self.scale, -FARTHEST, FARTHEST)
        return filled

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays, from which `from_arrays` makes it again."""
        return {"middle": self.middle, "scale": self.scale, "flagged": self.flagged}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> NumberScaling:
        """Make it from the arrays of `to_arrays`.

        Raises
        ------
        ValueError, KeyError
            They are not such arrays.
        """
        middle, scale, flagged = (np.asarray(arrays[name]) for name in ("middle", "scale", "flagged"))
        floats = middle.dtype == np.float64 and scale.dtype == np.float64 and flagged.dtype == np.int64
        if not floats or middle.ndim != 1 or scale.shape != middle.shape or flagged.ndim != 1:
            raise ValueError("the scales of the numbers have another form")
        if not (np.isfinite(middle).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("a scale of a number is not finite, or not positive")
        if len(flagged) and not (flagged.min() >= 0 and flagged.max() < len(middle)):
            raise ValueError("a column that may be missing is not there")
        return cls(middle, scale, flagged)
