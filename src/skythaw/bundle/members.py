"""Several networks as one classifier: the seeds of one setting, whose mean is the answer. No torch.

Each network's logits are divided by its own temperature, then the mean of the probabilities is taken. So a network that
is too sure of itself, or was trained badly, has no more weight than it deserves. The temperature of the bundle is that
of the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field

from skythaw.bundle.numbers_record import Temperature
from skythaw.spec import Frozen, Seed
from skythaw.stats.calibration import tempered

MOST = 20
"""networks of a bundle"""


class Member(Frozen):
    """One network of several."""

    cell: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """the key of its training run"""
    seed: Seed
    temperature: Temperature
    """of it alone, fitted on the validation set"""


def weight_files(first: str, members: Sequence[Member]) -> list[str]:
    """The files of the weights of a bundle, one for each network: the first, then ``model2.safetensors`` and so on."""
    stem, _, ending = first.partition(".")
    return [first, *(f"{stem}{number}.{ending}" for number in range(2, len(members) + 1))]


def mean_of_networks(
    several: Sequence[Float[np.ndarray, "object class"]], members: Sequence[Member]
) -> Float[np.ndarray, "object class"]:
    """Log-probabilities of the mean of networks, float32.

    Parameters
    ----------
    several
        log-probabilities as each network gives them
    members
        the networks
    """
    calm = [tempered(log_p, each.temperature) for log_p, each in zip(several, members, strict=True)]
    return np.asarray(np.logaddexp.reduce(calm) - np.log(len(calm)), dtype=np.float32)
