"""Weight averaging: an exponential moving average of the trained tensors.

torch's `AveragedModel` would copy the frozen part as well, and can't lend its weights to the model for a while; so only
its arithmetic is used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """The moving average of some tensors over the steps of training.

    The decay grows from 0.1 to its final value as ``(1 + step) / (10 + step)`` (as TensorFlow's
    ``ExponentialMovingAverage`` with ``num_updates`` does), so that the first, bad weights are soon forgotten.

    Parameters
    ----------
    tensors
        what is averaged; integers (a batch norm's counter) are followed, not averaged
    decay
        share of the average that a step keeps; None follows the tensors exactly
    """

    def __init__(self, tensors: Sequence[Tensor], decay: float | None) -> None:
        self.tensors = [t.detach() for t in tensors if t.is_floating_point()]
        self.decay = decay
        self.values = [t.clone() for t in self.tensors]
        self.steps = 0

    def update(self) -> None:
        """Take one step's tensors into the average."""
        if self.decay is None:
            return
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(self.values, self.tensors, self.steps)

    def remember(self) -> tuple[int, list[Tensor]]:
        """Steps and values as they are now, for `go_back`."""
        return self.steps, [value.clone() for value in self.values]

    def go_back(self, remembered: tuple[int, list[Tensor]]) -> None:
        """Go on from what was remembered."""
        self.steps, values = remembered
        torch._foreach_copy_(self.values, values)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """The average in place of the tensors, for scoring and saving; the tensors themselves afterwards."""
        if self.decay is None:
            yield
            return
        own = [t.clone() for t in self.tensors]
        torch._foreach_copy_(self.tensors, self.values)
        try:
            yield
        finally:
            torch._foreach_copy_(self.tensors, own)
