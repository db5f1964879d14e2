"""``skythaw backbones`` and ``skythaw blocks``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from skythaw.cli.shared_options import Json
from skythaw.cli.terminal import count, percent, print_json, say_wrapped, warn
from skythaw.cli.terminal_table import TerminalTable, Wide, print_table, say_left_out


def backbones(context: typer.Context, wide: Wide = False, as_json: Json = False) -> None:
    """The networks: parameters, blocks, and where their weights come from."""
    from dataclasses import asdict

    from skythaw.api.network_functions import networks
    from skythaw.backbones.hub_catalogue import HUB_ENCODERS

    rows, problems = networks(context.obj)
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
    from skythaw.api.network_functions import blocks as rows_of
    from skythaw.backbones.known_backbones import backbone
    from skythaw.backbones.network_facts import facts

    rows = rows_of(name, size=size, classes=classes, cache=cache)
    network = backbone(name)
    parameters = count(facts(network, cache).parameters)
    return rows, f"{name}: {len(rows) - 1} blocks, {parameters} parameters, at {size or network.input_size} px"
