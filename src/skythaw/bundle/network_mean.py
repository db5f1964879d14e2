"""The networks of a bundle as one module of torch, for ONNX files and maps: see `skythaw.bundle.members`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skythaw.bundle.bundle_file import BundleDescription
from skythaw.tuning.thawed_network import ThawedNetwork, pool


class NetworkMean(nn.Module):
    """Normalised images -> logits, and the pooled features of the first network."""

    def __init__(self, models: Sequence[ThawedNetwork], about: BundleDescription) -> None:
        super().__init__()
        self.networks = nn.ModuleList([each.network for each in models])
        self.heads = nn.ModuleList([each.head for each in models])
        self.temperatures = [each.temperature for each in about.members]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = [pool(network(x)) for network in self.networks]
        logits = [head(each) for head, each in zip(self.heads, features, strict=True)]
        if len(logits) == 1:
            return logits[0], features[0]
        calm = [(each / t).log_softmax(1) for each, t in zip(logits, self.temperatures, strict=True)]
        return torch.stack(calm).logsumexp(0) - math.log(len(calm)), features[0]
