"""What more images would give: a power law of the error through the training sizes of a study."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from skythaw.stats.intervals import estimate

SCORE = "macro_f1"


def size_curve(sizes: list[int], draws: Float[np.ndarray, "size draw"]) -> dict[str, Any] | None:
    """Fit ``1 - score = b * images ** -exponent`` in every draw; None with fewer than two sizes.

    Errors fall as powers of the number of images over wide ranges (Hestness et al., arXiv 1712.00409); with a floor
    below it the law promises too much, so it is asked for no more than twice the images.

    Parameters
    ----------
    sizes
        training images, no two alike
    draws
        the score in every draw, the sample itself first
    """
    if len(sizes) < 2:
        return None
    x = np.log(np.array(sizes, dtype=float))
    y = np.log(np.maximum(1 - draws, 1e-6))
    slope = ((x - x.mean())[:, None] * (y - y.mean(0))).sum(0) / ((x - x.mean()) ** 2).sum()
    fitted = y.mean(0) + slope * (x[:, None] - x.mean())
    twice = 2 * max(sizes)
    at_twice = np.clip(1 - np.exp(y.mean(0) + slope * (np.log(twice) - x.mean())), 0.0, 1.0)
    gain = at_twice - draws[int(np.argmax(sizes))]
    return {
        "sizes": sizes,
        "exponent": estimate(-slope),
        "residual": float(np.abs(np.exp(y[:, 0]) - np.exp(fitted[:, 0])).max()),
        "twice": twice,
        SCORE: estimate(at_twice),
        "gain": estimate(gain),
    }
