"""``skythaw backbones`` and ``skythaw blocks``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skythaw.cli.shared_options import Json
from skythaw.cli.terminal import count, percent, print_json, say_wrapped, tracked, warn
from skythaw.cli.terminal_table import TerminalTable, Wide, print_table, say_left_out


def backbones(context: typer.Context, wide: Wide = False, as_json: Json = False) -> None:
    """The networks: parameters, blocks, and where their weights come from."""
    from dataclasses import asdict

    from skythaw.backbones.hub_catalogue import HUB_ENCODERS

    rows, problems = _backbone_rows(context.obj)
    for name, reason in problems.items():
        warn(f"{name}: {reason}")
    if as_json:
        encoders = [asdict(each) for each in HUB_ENCODERS]
        print_json({"schema": 1, "backbones": rows, "encoders": encoders, "problems": problems})
        return
    numbers = ("parameters", "blocks", "layers", "trained at", "at least")
    table = TerminalTable(
        None,
        ("backbone", "weights", "licence of the weights", *numbers),
        3,
        spare=("licence of the weights", "weights"),
    )
    for row in rows:
        table.add(
            row["name"],
            row["weights"],
            row["licence"],
            count(row["parameters"]),
            str(row["blocks"]),
            str(row["layers"]),
            f"{row['input_size']} px",
            f"{row['smallest_input']} px",
        )
    say_left_out(print_table(table, wide=wide))
    say_wrapped("Any other network of timm: timm:NAME. Parameters are those of the backbone, without a head.")
    others = TerminalTable("\nOther weights", ("name", "network", "trained on", "licence"), 4)
    for each in HUB_ENCODERS:
        others.add(each.name, each.network, each.trained_on, each.licence)
    say_left_out(print_table(others, wide=wide))
    say_wrapped(
        "Any other model of timm on the Hugging Face Hub: hf_hub:OWNER/NAME. A study compares several weights of one "
        "network by weights = [...] in [grid]."
    )


def _backbone_rows(cache: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row for each network that works, and the reason for each that does not."""
    from dataclasses import asdict

    from skythaw import registry
    from skythaw.backbones.known_backbones import backbone
    from skythaw.backbones.network_facts import facts
    from skythaw.errors import SkythawError

    rows = []
    problems = registry.problems("backbone")
    names = registry.names("backbone")
    for name in tracked(names, len(names), "measuring", "networks"):
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
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of a backbone, timm:NAME, or hf_hub:OWNER/NAME.")
    ],
    size: Annotated[
        int | None,
        typer.Option(
            help="Pixels a side of an image, for the share of FLOPs (TFR). Default: that of the weights' training."
        ),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="How many classes the head has.")] = 3,
    as_json: Json = False,
) -> None:
    """A network's blocks from the top: parameters, layers, and what training down to each would tune."""
    rows, title = block_rows(name, size, classes, context.obj)
    if as_json:
        print_json({"schema": 1, "backbone": name, "classes": classes, "blocks": rows})
        return
    table = TerminalTable(title, ("block", "depth", "parameters", "layers", "TPR", "TLR", "TFR"))
    for row in rows:
        table.add(
            row["name"],
            str(row["depth"]),
            f"{row['parameters']:,}",
            str(row["layers"]),
            *(percent(row[ratio], 2) for ratio in ("tpr", "tlr", "tfr")),
        )
    print_table(table)
    say_wrapped(
        "TPR, TLR, TFR: share of parameters, layers and forward FLOPs trained down to this block, head included."
    )


def block_rows(name: str, size: int | None, classes: int, cache: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of ``skythaw blocks``, from the top, after one for the head alone; and a title."""
    from skythaw.backbones.known_backbones import backbone
    from skythaw.backbones.network_facts import block_flops, facts
    from skythaw.errors import SpecError

    network = backbone(name).with_size(size) if size else backbone(name)
    known = facts(network, cache)
    size = size or network.input_size
    if size < known.smallest_input:
        raise SpecError(f"{name} takes images of at least {known.smallest_input} pixels, not --size {size}")
    flops = block_flops(network, size, cache)
    rows = []
    for depth in range(len(known.blocks) + 1):
        ratios = known.ratios(range(len(known.blocks) - depth, len(known.blocks)), classes, flops)
        if depth == 0:
            block = {"name": "head", "parameters": (known.channels + 1) * classes, "layers": 1}
        else:
            below = known.blocks[-depth]
            block = {"name": below.name, "parameters": below.parameters, "layers": below.layers}
        rows.append({**block, "depth": depth, "tpr": ratios.tpr, "tlr": ratios.tlr, "tfr": ratios.tfr})
    return rows, f"{name}: {len(known.blocks)} blocks, {count(known.parameters)} parameters, at {size} px"
