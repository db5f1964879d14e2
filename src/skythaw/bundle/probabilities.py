"""What may leave the program as probabilities: finite, from 0 to 1, and 1 in all. No torch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

ROUNDING = 1e-6
"""how far a probability in float32 may be beyond 1"""
SLACK = 1e-4
"""how far the sum of all may be from 1"""


def are_probabilities(p: Float[np.ndarray, "object class"]) -> Bool[np.ndarray, " object"]:
    """Which rows are probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from skythaw.bundle.probabilities import are_probabilities
    >>> are_probabilities(np.array([[0.9, 0.1], [474.9, 0.0], [0.9, 0.2], [np.nan, 1.0]])).tolist()
    [True, False, False, False]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        within = ((p >= 0) & (p <= 1 + ROUNDING)).all(1)
        return np.asarray(within & (np.abs(p.sum(1, dtype=np.float64) - 1) <= SLACK))
