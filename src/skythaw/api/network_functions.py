"""`skythaw backbones` and `skythaw blocks` from Python."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from skythaw import registry
from skythaw.api.progress_bar import tracked
from skythaw.api.run_choices import cache_folder
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network_facts import block_flops, facts
from skythaw.errors import SkythawError, SpecError


def backbones(*, cache: Path | str | None = None, progress: bool = True) -> list[dict[str, Any]]:
    """The networks that work here: parameters, blocks, and where their weights come from.

    Parameters
    ----------
    cache
        folder for facts about networks; by default the user's own
    progress
        show a bar

    Returns
    -------
    list of dict
        ``name``, ``parameters``, ``blocks``, ``layers``, ``weights``, ``licence``, ``input_size``, ``smallest_input``
        and ``preprocessing`` of each
    """
    return networks(cache_folder(cache), progress)[0]


def networks(cache: Path, progress: bool = True) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row for each network that works, and the reason for each that does not."""
    rows = []
    problems = registry.problems("backbone")
    names = registry.names("backbone")
    for name in tracked(names, len(names), "measuring", "networks", shown=progress):
        try:
            network = backbone(name)
            known = facts(network, cache)
        except SkythawError as error:
            problems.setdefault(name, str(error))
            continue
        rows.append(
            {
                "name": name,
                "parameters": known.parameters,
                "blocks": len(known.blocks),
                "layers": known.layers,
                "weights": network.weights,
                "licence": network.licence,
                "input_size": network.input_size,
                "smallest_input": known.smallest_input,
                "preprocessing": asdict(network.preprocessing),
            }
        )
    return rows, problems


def blocks(
    name: str, *, size: int | None = None, classes: int = 3, cache: Path | str | None = None
) -> list[dict[str, Any]]:
    """A network's blocks from the top: parameters, layers, and what training down to each would tune.

    Parameters
    ----------
    name
        of a backbone, or ``timm:NAME``
    size
        pixels a side of an image, for the share of FLOPs; by default that of the weights' training
    classes
        how many classes the head has
    cache
        folder for facts about networks

    Returns
    -------
    list of dict
        ``name``, ``depth``, ``parameters``, ``layers``, ``tpr``, ``tlr`` and ``tfr``, after one for the head alone

    Raises
    ------
    UnknownNameError, SpecError
        There is no such network, or it takes no images so small.

    Examples
    --------
    >>> import skythaw
    >>> [block["depth"] for block in skythaw.blocks("timm:test_resnet", size=64)]
    [0, 1, 2, 3, 4, 5]
    """
    network, folder = backbone(name), cache_folder(cache)
    network = network.with_size(size) if size else network
    known = facts(network, folder)
    size = size or network.input_size
    if size < known.smallest_input:
        raise SpecError(f"{name} takes images of at least {known.smallest_input} pixels, not --size {size}")
    flops = block_flops(network, size, folder)
    rows = []
    for depth in range(len(known.blocks) + 1):
        ratios = known.ratios(range(len(known.blocks) - depth, len(known.blocks)), classes, flops)
        if depth == 0:
            block = {"name": "head", "parameters": (known.channels + 1) * classes, "layers": 1}
        else:
            below = known.blocks[-depth]
            block = {"name": below.name, "parameters": below.parameters, "layers": below.layers}
        rows.append({**block, "depth": depth, "tpr": ratios.tpr, "tlr": ratios.tlr, "tfr": ratios.tfr})
    return rows
