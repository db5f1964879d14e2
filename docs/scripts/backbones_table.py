"""Print the table of `backbones.md`: ``python docs/scripts/backbones_table.py``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from skythaw import registry
from skythaw.backbones.known_backbones import backbone
from skythaw.backbones.network_facts import facts

HEADER = (
    "| name | library: model | blocks | parameters | layers | features | smallest input | trained at | mean; std "
    "| weights | licence |"
)


def row(name: str, cache: Path) -> str:
    """One network, as a line of the table."""
    network, found = backbone(name), facts(backbone(name), cache)
    mean, std = ({*values} for values in (network.preprocessing.mean, network.preprocessing.std))
    scale = "0.5; 0.5" if mean == std == {0.5} else "ImageNet"
    weights = network.weights.replace("https://github.com/", "github.com/")
    cells = (
        f"`{name}`",
        f"{network.library}: `{network.model}`",
        len(found.blocks),
        f"{found.parameters:,}",
        found.layers,
        found.channels,
        f"{found.smallest_input} px",
        f"{network.input_size} px",
        scale,
        weights,
        network.licence,
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    print(HEADER, "|---" * HEADER.count(" | ") + "|---|", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        for name in registry.names("backbone"):
            print(row(name, Path(folder)))
