"""``skythaw explain``: why a bundle answers as it does on one image."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skythaw.cli.print_report import print_classifier
from skythaw.cli.shared_options import BundleGiven, Device
from skythaw.cli.terminal import print_json, say, say_wrapped

if TYPE_CHECKING:
    from skythaw.explain.explanation import Explanation

JSON_SCHEMA = 1


def explain(
    bundle: BundleGiven,
    image: Annotated[str, typer.Argument(help="An image file, or DATA.parquet:OBJECT_ID.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="PNG", help="The picture to write.")],
    label: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="The class to explain. Default: the most probable.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A catalogue with the numbers that the bundle takes beside an image. Default: those of DATA.parquet.",
        ),
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The numbers, for programs.")] = False,
) -> None:
    """One picture of why a classifier says what it says: where it looks, and which training images are near."""
    from skythaw.api.bundle_functions import explain as ask
    from skythaw.bundle.bundle_file import read_about
    from skythaw.bundle.hub_bundle import bundle_folder

    bundle = bundle_folder(bundle)  # once: see `predict`
    found = ask(bundle, image, out, label=label, table=table, device=device)
    if as_json:
        print_json(_facts(found, out))
        return
    say(", ".join(f"{each} {p:.3f}" for each, p in sorted(found.p.items(), key=lambda item: -item[1])))
    if found.numbers:
        for sentence in found.numbers.sentences(found.label):
            say_wrapped(sentence)
    say(found.verdict)
    say(f"wrote {out}")
    print_classifier(read_about(bundle))


def _facts(found: Explanation, out: Path) -> dict[str, Any]:
    return {
        "schema": JSON_SCHEMA,
        "image": found.name,
        "p": found.p,
        "class": found.label,
        "distance": found.distance,
        "percentile": found.percentile,
        "nearest": [
            {"object_id": each.object_id, "label": each.label, "distance": each.distance} for each in found.neighbours
        ],
        "file": str(out),
    } | ({} if found.numbers is None else {"numbers": asdict(found.numbers)})
